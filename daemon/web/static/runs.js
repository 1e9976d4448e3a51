// One run: a line that opens, and in it its streams.

import { mend } from "./parts.js";
import { amount, at, count, lapse, make, size, stateMark } from "./words.js";

const OPEN = new Set(["working", "recording", "quarantined"]);
const MARKS = { verified: "yes", failed: "differs", running: "now", gone: "no" };

/** Make the row of a run; what is inside it is made when it is opened. */
export function makeRun(run) {
  const summary = make("summary");
  const body = make("div", { className: "body" });
  const element = make("details", { className: "run" }, summary, body);
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
    make("span", { className: "name" }, run.name),
    make("span", { className: "facts" }, ...facts(run)),
    ...(why.some(Boolean) ? [make("span", { className: "why" }, why.filter(Boolean).join("; "))] : []),
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
  return words.flatMap((text, i) => [i ? " \u00b7 " : "", make("span", {}, text)]);
}

function fillBody(row) {
  if (!row.element.open) return;
  const { run } = row;
  const times = [["found", run.discovered_at], ["finished", run.finished_at], ["completed", run.completed_at]];
  const told = times.filter(([, time]) => time).map(([word, time]) => `${word} ${at(time)}`);
  row.body.replaceChildren(
    ...(run.streams ? [table(run)] : [make("p", { className: "quiet" }, "Only totals are shown for runs this old.")]),
    ...(run.streams ? [] : Object.entries(run.pictures || {}).map(([stream, of]) => pictures(stream, of))),
    ...(run.warnings || []).map((text) => make("p", { className: "warning" }, `! ${text}`)),
    make("p", { className: "quiet times" }, `${run.root}; ${told.join(", ")} UTC`),
  );
}

function table(run) {
  const heads = ["stream", "state", "frames", "committed", "behind", "lag", "verified"];
  const head = make("tr", {}, ...heads.map((text, i) => make("th", { scope: "col", className: i > 1 ? "number" : "" }, text)));
  const rows = run.streams.flatMap((stream) => lines(stream, (run.pictures || {})[stream.stream]));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function lines(stream, images) {
  const cell = (label, text) => make("td", { className: "number", "data-label": label }, text);
  const first = make("tr", {},
    make("td", { className: "name" }, stream.stream),
    make("td", {}, stateMark(stream.state)),
    cell("frames", amount(stream.n_frames)),
    cell("committed", size(stream.n_bytes)),
    cell("behind", stream.n_behind_bytes ? size(stream.n_behind_bytes) : ""),
    cell("lag", lapse(stream.lag_s)),
    cell("verified", MARKS[stream.verify] || ""));
  const more = [...mend(stream), images ? pictures(stream.stream, images) : null].filter(Boolean);
  if (!more.length) return [first];
  return [first, make("tr", { className: "more" }, make("td", { colSpan: 7 }, ...more))];
}

function pictures(stream, images) {
  return make("div", { className: "pictures" }, ...images.map(([name, version]) => {
    const src = `/quicklook/${encodeURIComponent(name)}?v=${version}`;
    const image = make("img", { loading: "lazy", alt: `quicklook of ${stream}`, src });
    return make("a", { href: src, target: "_blank", rel: "noreferrer", title: name }, image);
  }));
}
