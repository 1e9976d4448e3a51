// What stands around the runs: the service in words, numbers, notices, what needs a hand, the log.

import { amount, at, clock, commandLine, count, makeElement, size } from "./format.js";

const MOST_MENDS = 20;
const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Show the service, its queue, disks, roots and cluster. */
export function fillHead($, head) {
  const { service, queue, totals } = head;
  $("words").textContent = head.words;
  document.title = `${totals.n_quarantined ? `(${totals.n_quarantined}) ` : ""}${head.words} \u2013 panoseti-zarr`;
  $("about").textContent = `${service.version} on ${service.host}`;
  $("tiles").replaceChildren(
    tile("streams queued", amount(queue.n_waiting), `${count(queue.n_running, "job")} under way`),
    tile("behind", size(queue.n_behind_bytes), "of PFF still to be committed"),
    tile("frames committed", amount(totals.n_frames), `in ${count(totals.n_runs, "run")}`),
    tile("streams done", amount(totals.n_done), `of ${amount(totals.n_streams)}; ${trouble(totals)}`),
    ...head.disks.map((disk) => tile(`${disk.key} free`, size(disk.free_bytes), disk.path)),
    tile("cluster", service.cluster, ...cluster(head)),
  );
  $("notices").replaceChildren(...notices(head).map((text) => makeElement("p", { className: "notice" }, text)));
  const roots = head.roots.map((root) => root.path + (root.n_ignored ? ` (${count(root.n_ignored, "older run")} left alone)` : ""));
  $("foot").textContent = `Up since ${at(service.started_at)} UTC, pid ${service.pid}, configuration ${service.config || "built in"}; watches ${roots.join(", ")}. This page only reads.`;
}

function tile(name, value, ...small) {
  const lines = small.filter(Boolean).map((text) => makeElement("small", {}, text));
  return makeElement("div", {}, makeElement("dt", {}, name), makeElement("dd", {}, value, ...lines));
}

function trouble(totals) {
  const words = [`${totals.n_quarantined} quarantined`];
  if (totals.n_verified) words.push(`${amount(totals.n_verified)} verified`);
  if (totals.n_verify_failed) words.push(`${totals.n_verify_failed} unlike their files`);
  return words.join(", ");
}

/** Where Dask's dashboard is; that of an SSH cluster is on its host's loopback. */
function cluster(head) {
  if (!head.dashboard) return [""];
  const url = new URL(head.dashboard);
  const isFar = head.service.cluster === "ssh" && !LOOPBACK.has(url.hostname);
  const tunnel = `ssh -L ${url.port}:127.0.0.1:${url.port} ${url.hostname}`;
  if (isFar) url.hostname = "127.0.0.1";
  const link = makeElement("a", { href: url.href, rel: "noreferrer", target: "_blank" }, "Dask dashboard");
  return [link, isFar ? makeElement("span", {}, "through ", makeElement("code", {}, tunnel)) : ""];
}

function notices(head) {
  const found = [];
  if (head.queue.paused) found.push(`Queue paused: ${head.queue.paused}`);
  if (head.service.waits_for) found.push(`The cluster is waited for: ${head.service.waits_for}`);
  for (const root of head.roots) {
    if (root.paused) found.push(`${root.path} is left alone: ${root.paused}`);
    for (const refused of root.refused) found.push(`refused in ${root.path}: ${refused.name}: ${refused.reason}`);
  }
  return found;
}

/** Show the streams that require an action, newest run first. */
export function showActions(section, number, list, known) {
  const items = [];
  let n = 0;
  for (let i = known.names.length - 1; i >= 0; i -= 1) {
    const run = known.runs.get(known.names[i]);
    for (const stream of (run && run.streams) || []) {
      if (!stream.command) continue;
      n += 1;
      if (items.length < MOST_MENDS) {
        items.push(makeElement("li", {}, makeElement("div", { className: "name" }, `${run.name} ${stream.stream}`), ...actions(stream)));
      }
    }
  }
  section.hidden = n === 0;
  number.textContent = n > items.length ? `${n}, the newest ${items.length} here` : `${n}`;
  list.replaceChildren(...items);
}

/** The reason why a stream is stuck, and its remedy. */
export function actions(stream) {
  const retry = stream.retry_at ? ` Next at ${at(stream.retry_at)} UTC.` : "";
  return [
    stream.last_error ? makeElement("p", { className: "reason" }, stream.last_error) : null,
    stream.remedy ? makeElement("p", { className: "remedy" }, stream.remedy + retry) : null,
    stream.command ? commandLine(stream.command) : null,
  ];
}

const NUMBERS = {
  n_frames: (n) => count(n, "frame"),
  n_streams: (n) => count(n, "stream"),
  seconds: (n) => `${Number(n.toPrecision(3))} s`,
  n_quarantined: (n) => (n ? `${n} quarantined` : ""),
  n_bytes: size,
  port: (n) => `port ${n}`,
  n_slots: (n) => count(n, "task slot"),
};

/** Show the log's last lines, newest first. */
export function showLines(list, lines) {
  const items = lines.map((line) => {
    const words = [line.run, line.stream, line.reason || line.message].filter(Boolean);
    for (const [key, say] of Object.entries(NUMBERS)) if (key in line) words.push(say(line[key]));
    const isLoud = line.level !== "info" && line.level !== "debug";
    return makeElement("li", { className: line.level },
      makeElement("time", {}, clock(line.timestamp)),
      makeElement("b", {}, isLoud ? makeElement("i", {}, line.level === "warning" ? "! " : "\u2715 ") : "", line.event),
      makeElement("span", {}, words.filter(Boolean).join(" \u00b7 ")));
  });
  list.replaceChildren(...items.reverse());
}
