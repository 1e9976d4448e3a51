// One run: a line that opens, and in it its streams.

import { actions } from "./panels.js";
import { amount, at, count, lapse, makeElement, size, stateMark } from "./format.js";

const OPEN = new Set(["working", "recording", "quarantined"]);
const MARKS = { verified: "yes", failed: "differs", running: "now", gone: "no" };

/** Make the row of a run; what is inside it is made when it is opened. */
export function makeRun(run) {
  const summary = makeElement("summary");
  const body = makeElement("div", { className: "body" });
  const element = makeElement("details", { className: "run" }, summary, body);
  const row = { element, summary, body, run: null, isTouched: false };
  element.addEventListener("toggle", () => fillBody(row));
  summary.addEventListener("click", () => { row.isTouched = true; });
  updateRun(row, run, false);
  return row;
}

/** Show a run as it is now. */
export function updateRun(row, run, isFresh) {
  row.run = run;
  const { element } = row;
  const isBad = run.state === "quarantined" || (run.n_quarantined || 0) > 0;
  element.classList.toggle("bad", isBad);
  element.dataset.state = run.state;
  const why = [run.reason, run.n_quarantined ? `${count(run.n_quarantined, "stream")} quarantined` : ""];
  const nWarnings = (run.warnings || []).length;
  if (nWarnings) why.push(count(nWarnings, "warning"));
  row.summary.replaceChildren(
    stateMark(run.state),
    makeElement("span", { className: "name" }, run.name),
    makeElement("span", { className: "facts" }, ...facts(run)),
    ...(why.some(Boolean) ? [makeElement("span", { className: "why" }, why.filter(Boolean).join("; "))] : []),
  );
  // What is under way, or needs a hand, opens by itself, until somebody has closed or opened it.
  if (!row.isTouched && OPEN.has(run.state) && run.streams && run.streams.length) element.open = true;
  if (element.open) fillBody(row);
  if (isFresh) {
    element.classList.remove("fresh");
    requestAnimationFrame(() => element.classList.add("fresh"));
  }
}

function facts(run) {
  const lags = (run.streams || []).map((s) => s.lag_s).filter((lag) => lag !== undefined);
  const words = [count(run.n_streams, "stream"), count(run.n_frames, "frame"), size(run.n_bytes)];
  if (run.state === "recording" && lags.length) words.push(`lag ${lapse(Math.max(...lags))}`);
  if (run.n_verified) words.push(run.n_verified === run.n_streams ? "all verified" : `${run.n_verified} verified`);
  return words.flatMap((text, i) => [i ? " \u00b7 " : "", makeElement("span", {}, text)]);
}

function fillBody(row) {
  if (!row.element.open) return;
  const { run } = row;
  const times = [["found", run.discovered_at], ["finished", run.finished_at], ["completed", run.completed_at]];
  const told = times.filter(([, time]) => time).map(([word, time]) => `${word} ${at(time)}`);
  row.body.replaceChildren(
    ...(run.streams ? [table(run)] : [makeElement("p", { className: "quiet" }, "Only totals are shown for runs this old.")]),
    ...(run.streams ? [] : Object.entries(run.pictures || {}).map(([stream, of]) => pictures(stream, of))),
    ...(run.warnings || []).map((text) => makeElement("p", { className: "warning" }, `! ${text}`)),
    makeElement("p", { className: "quiet times" }, `${run.root}; ${told.join(", ")} UTC`),
  );
}

function table(run) {
  const heads = ["stream", "state", "frames", "committed", "behind", "lag", "verified"];
  const head = makeElement("tr", {}, ...heads.map((text, i) => makeElement("th", { scope: "col", className: i > 1 ? "number" : "" }, text)));
  const rows = run.streams.flatMap((stream) => lines(stream, (run.pictures || {})[stream.stream]));
  return makeElement("table", {}, makeElement("thead", {}, head), makeElement("tbody", {}, ...rows));
}

function lines(stream, images) {
  const cell = (label, text) => makeElement("td", { className: "number", "data-label": label }, text);
  const first = makeElement("tr", {},
    makeElement("td", { className: "name" }, stream.stream),
    makeElement("td", {}, stateMark(stream.state)),
    cell("frames", amount(stream.n_frames)),
    cell("committed", size(stream.n_bytes)),
    cell("behind", stream.n_behind_bytes ? size(stream.n_behind_bytes) : ""),
    cell("lag", lapse(stream.lag_s)),
    cell("verified", MARKS[stream.verify] || ""));
  const more = [...actions(stream), images ? pictures(stream.stream, images) : null].filter(Boolean);
  if (!more.length) return [first];
  return [first, makeElement("tr", { className: "more" }, makeElement("td", { colSpan: 7 }, ...more))];
}

function pictures(stream, images) {
  return makeElement("div", { className: "pictures" }, ...images.map(([name, version]) => {
    const src = `/quicklook/${encodeURIComponent(name)}?v=${version}`;
    const image = makeElement("img", { loading: "lazy", alt: `quicklook of ${stream}`, src });
    return makeElement("a", { href: src, target: "_blank", rel: "noreferrer", title: name }, image);
  }));
}
