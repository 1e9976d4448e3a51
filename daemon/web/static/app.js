// The status page: listens to the service's events, and shows what they say.

import { showChart } from "./chart.js";
import { fillHead, showLines, showActions } from "./panels.js";
import { makeRun, updateRun } from "./run_table.js";
import { amount, count, makeElement, stateWord } from "./format.js";

const PAGE_ROWS = 100;
const SILENT_MS = 30000;
const STUCK_S = 120;
const SPANS = { 60: "1 h", 180: "3 h", 720: "12 h" };
const N_LINES = 100;

const $ = (id) => document.getElementById(id);

const known = { head: null, names: [], runs: new Map(), minutes: new Map(), lines: [] };
const shown = { limit: PAGE_ROWS, state: "", text: "", span: 180, rows: new Map() };
const link = { source: null, heardMs: Date.now(), isOpen: false, stuckS: 0 };

/** Apply a message: what it has replaces what was known. */
function applyMessage(message) {
  if (message.all) {
    known.runs.clear();
    known.minutes.clear();
    known.lines = [];
  }
  if (message.head) known.head = message.head;
  if (message.names) known.names = message.names;
  for (const run of message.runs || []) known.runs.set(run.name, run);
  for (const [minute, nBytes] of message.minutes || []) known.minutes.set(minute, nBytes);
  known.lines = [...known.lines, ...(message.lines || [])].slice(-N_LINES);
  if (message.names) {
    const names = new Set(message.names);
    for (const name of known.runs.keys()) if (!names.has(name)) known.runs.delete(name);
  }
  if (message.head) fillHead($, known.head);
  if (message.head || message.runs || message.names) {
    showStates();
    showRuns(message.all ? [] : message.runs || []);
    showActions($("actions"), $("n-actions"), $("action-list"), known);
  }
  if (message.minutes || message.all) drawChart();
  if (message.lines || message.all) showLines($("lines"), known.lines);
  showLink();
  // For whoever measures how long a page takes: performance.getEntriesByName("shown").
  if (message.all) requestAnimationFrame(() => setTimeout(() => performance.mark("shown")));
}

function drawChart() {
  const now = Math.max(Math.floor(Date.now() / 60000), ...[...known.minutes.keys()].slice(-1));
  showChart($("chart"), known.minutes, shown.span, now);
}

/** Whether a run is one of those that are looked for. */
function isWanted(run) {
  if (shown.state && run.state !== shown.state) return false;
  if (!shown.text) return true;
  const errors = (run.streams || []).map((s) => `${s.stream} ${s.state} ${s.last_error || ""}`);
  const words = [run.name, run.state, run.reason || "", ...(run.warnings || []), ...errors];
  return words.join("\n").toLowerCase().includes(shown.text);
}

/** Show the newest runs that are wanted; only rows that are seen are ever made. */
function showRuns(changed) {
  const wanted = [];
  for (let i = known.names.length - 1; i >= 0; i -= 1) {
    const run = known.runs.get(known.names[i]);
    if (run && isWanted(run)) wanted.push(run);
  }
  const visible = wanted.slice(0, shown.limit);
  const rows = new Map();
  const box = $("runs");
  const isChanged = new Set(changed.map((run) => run.name));
  let place = box.firstElementChild;
  for (const run of visible) {
    let row = shown.rows.get(run.name);
    if (!row) row = makeRun(run);
    else if (row.run !== run) updateRun(row, run, isChanged.has(run.name));
    rows.set(run.name, row);
    if (row.element === place) place = place.nextElementSibling;
    else box.insertBefore(row.element, place);
  }
  for (const [name, row] of shown.rows) if (!rows.has(name)) row.element.remove();
  shown.rows = rows;
  const left = wanted.length - visible.length;
  $("more").hidden = left <= 0;
  $("more").textContent = `show ${Math.min(left, PAGE_ROWS)} more of ${count(left, "older run")}`;
  $("none").hidden = visible.length > 0;
  const isAll = wanted.length === known.names.length;
  $("n-runs").textContent = isAll ? amount(wanted.length) : `${amount(wanted.length)} of ${amount(known.names.length)}`;
}

function choose(box, name, value, text, isChosen, take_) {
  const input = makeElement("input", { type: "radio", name, value, checked: isChosen });
  input.addEventListener("change", () => take_(value));
  box.append(makeElement("label", {}, input, makeElement("span", {}, text)));
}

/** The choice of a state, with how many runs have it. */
function showStates() {
  const states = Object.entries(known.head ? known.head.states : {});
  const wanted = [["", `all ${amount(known.names.length)}`], ...states.map(([s, n]) => [s, `${stateWord(s)} ${amount(n)}`])];
  const box = $("states");
  const signature = JSON.stringify(wanted);
  if (box.signature === signature) return;
  box.signature = signature;
  const focused = document.activeElement && document.activeElement.name === "state";
  box.querySelectorAll("label").forEach((label) => label.remove());
  if (shown.state && !states.some(([state]) => state === shown.state)) shown.state = "";
  for (const [state, text] of wanted) {
    choose(box, "state", state, text, state === shown.state, (value) => {
      shown.state = value;
      shown.limit = PAGE_ROWS;
      showRuns([]);
    });
  }
  if (focused) box.querySelector("input:checked").focus();
}

/** Say whether what is shown is how things are. */
function showLink() {
  const phase = known.head ? known.head.service.phase : "";
  const live = $("live");
  const since = new Date(link.heardMs).toISOString().slice(11, 19);
  let [kind, words] = ["on", "live"];
  if (!link.isOpen) [kind, words] = ["off", `no connection since ${since} UTC`];
  else if (link.stuckS > STUCK_S) [kind, words] = ["off", `no sign of life for ${Math.round(link.stuckS / 60)} min`];
  else if (phase !== "running") [kind, words] = ["", phase || "connected"];
  if (live.textContent === words) return;
  live.className = `live ${kind}`;
  live.textContent = words;
}

function listen() {
  const source = new EventSource("/events");
  link.source = source;
  const heard = () => {
    link.heardMs = Date.now();
    link.isOpen = true;
  };
  source.addEventListener("message", (event) => {
    heard();
    link.stuckS = 0;
    applyMessage(JSON.parse(event.data));
  });
  source.addEventListener("beat", (event) => {
    heard();
    link.stuckS = Number(event.data);
    showLink();
  });
  source.addEventListener("error", () => {
    link.isOpen = false;
    showLink();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listenAgain(source), 5000);
  });
}

function listenAgain(source) {
  if (link.source !== source) return;
  source.close();
  listen();
}

$("more").addEventListener("click", () => {
  shown.limit += PAGE_ROWS;
  showRuns([]);
});
$("text").addEventListener("input", () => {
  shown.text = $("text").value.trim().toLowerCase();
  shown.limit = PAGE_ROWS;
  showRuns([]);
});
for (const [nMinutes, text] of Object.entries(SPANS)) {
  choose($("spans"), "span", nMinutes, text, Number(nMinutes) === shown.span, (value) => {
    shown.span = Number(value);
    drawChart();
  });
}
setInterval(() => {
  drawChart();
  if (Date.now() - link.heardMs < SILENT_MS) return;
  link.isOpen = false;
  showLink();
  listenAgain(link.source);
}, 10000);
drawChart();
listen();
