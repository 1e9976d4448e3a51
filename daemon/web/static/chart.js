// Throughput over the last hours: megabytes committed a second, by the minute.

import { clock, makeElement, size } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** The next of 1, 2, 5, 10, ... at or above a number. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value * 0.9999) * power;
}

/** Fill a figure with the chart of the last `nMinutes`; `minutes` maps a minute to its bytes. */
export function showChart(figure, minutes, nMinutes, nowMinute) {
  const first = nowMinute - nMinutes + 1;
  const rates = [];
  let total = 0;
  for (let minute = first; minute <= nowMinute; minute += 1) {
    const nBytes = minutes.get(minute) || 0;
    total += nBytes;
    rates.push(nBytes / 60e6);
  }
  const most = Math.max(...rates);
  const top = most > 0 ? roundUp(most) : 1;
  const svg = draw("svg", {
    viewBox: `0 0 ${nMinutes} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  for (const part of [0, 0.5]) {
    const y = HEIGHT * part + 0.5;
    svg.append(draw("line", { class: "grid", x1: 0, x2: nMinutes, y1: y, y2: y }));
  }
  const steps = rates.map((rate, x) => {
    const y = (HEIGHT * (1 - rate / top)).toFixed(2);
    return `V${y}H${x + 1}`;
  });
  svg.append(draw("path", { class: "area", d: `M0 ${HEIGHT}${steps.join("")}V${HEIGHT}Z` }));
  svg.append(draw("line", { class: "axis", x1: 0, x2: nMinutes, y1: HEIGHT, y2: HEIGHT }));
  const hours = nMinutes / 60;
  const times = [0, 0.5, 1].map((part) => {
    const minute = first + part * nMinutes;
    return makeElement("span", {}, part === 1 ? "now" : clock(minute * 60).slice(0, 5));
  });
  const scale = [top, top / 2, 0].map((rate) => makeElement("span", {}, `${Number(rate.toPrecision(3))}`));
  const words = total
    ? `${size(total)} committed in ${hours} h, at most ${size(most * 1e6)}/s over a minute`
    : `nothing was committed in ${hours} h`;
  figure.replaceChildren(
    makeElement("div", { className: "plot" },
      makeElement("div", { className: "scale", "aria-hidden": "true" }, ...scale), svg,
      makeElement("div", { className: "times", "aria-hidden": "true" }, ...times)),
    makeElement("figcaption", {}, `MB/s, times UTC: ${words}`),
  );
}
