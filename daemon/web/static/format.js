// Numbers, times and states as people read them, and elements that hold text as text.

/** Make an element. Text goes in as text, whatever it looks like. */
export function makeElement(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

export const amount = (n) => (n || 0).toLocaleString("en");

export const count = (n, noun) => `${amount(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A size in decimal units: 25.4 MB. */
export function size(nBytes) {
  let n = nBytes || 0;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 999.5) return `${unit === "B" ? Math.round(n) : Number(n.toPrecision(3))} ${unit}`;
    n /= 1000;
  }
  return `${Number(n.toPrecision(3))} TB`;
}

/** A lapse of time in one unit: 90 s, 2.0 h. */
export function lapse(seconds) {
  if (seconds === undefined || seconds === null) return "";
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  for (const [unit, of] of [["min", 60], ["h", 3600]]) {
    if (seconds < 100 * of) return `${(seconds / of).toFixed(1)} ${unit}`;
  }
  return `${(seconds / 86400).toFixed(0)} d`;
}

/** Day and time of ISO text, UTC: 2024-07-25 04:34:06. */
export const at = (iso) => (iso ? iso.replace("T", " ").replace("Z", "") : "");

/** Time of day, UTC, of Unix seconds. */
export const clock = (unix) => new Date(unix * 1000).toISOString().slice(11, 19);

const STATES = {
  waiting: ["still", "\u25cc", "waiting"],
  recording: ["busy", "\u25c9", "recording"],
  working: ["busy", "\u25b6", "working"],
  done: ["good", "\u2713", "done"],
  quarantined: ["bad", "\u2715", "quarantined"],
  removed: ["still", "\u2212", "removed"],
  queued: ["still", "\u25cc", "queued"],
  open: ["busy", "\u25c9", "open"],
  following: ["busy", "\u25b6", "following"],
  ingesting: ["busy", "\u25b6", "ingesting"],
  retrying: ["warn", "\u21bb", "retrying"],
  l1_queued: ["still", "\u25cc", "L1 queued"],
  l1_running: ["busy", "\u25b6", "making L1"],
  l1_retrying: ["warn", "\u21bb", "L1 retrying"],
};

/** Sign, colour and word of a state. */
export function stateMark(state) {
  const [kind, sign, word] = STATES[state] || ["still", "?", state];
  return makeElement("span", { className: `state ${kind}` }, `${sign} ${word}`);
}

export const stateWord = (state) => (STATES[state] || [null, null, state])[2];

/** A command with a button that copies it. */
export function commandLine(command) {
  const button = makeElement("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it";
    }
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  });
  return makeElement("div", { className: "command" }, makeElement("code", {}, command), button);
}
