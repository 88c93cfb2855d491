"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const number = (value) => (typeof value === "number" ? (value > 0 ? "+" : "") + value.toFixed(3) : String(value));

/* What a reader must see of untrusted text: control, bidi and half characters become symbols. */
const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff]/gu;
const visible = (text) => text.replace(HIDDEN, (c) => "\u27e8" + c.codePointAt(0).toString(16).padStart(4, "0") + "\u27e9");

/* Streams of numbers, packed by cepo.reports.page: thousandths in 16 bits, or 32-bit floats. null: not recorded. */
const opened = new Map();
function numbers(stream) {
  if (typeof stream !== "string") return null;
  if (!opened.has(stream)) {
    const bytes = Uint8Array.from(atob(stream.slice(1)), (c) => c.charCodeAt(0)).buffer;
    opened.set(stream, stream[0] === "i" ? Float64Array.from(new Int16Array(bytes), (n) => n / 1000) : new Float32Array(bytes));
  }
  return opened.get(stream);
}
const KINDS = ["evidence", "weight", "advantage"];
const REFERENCES = { plus: "r+", minus: "r-" }, PROMPTS = { student: "log P_S", plus: "log P+", minus: "log P-" };
const named = (names, name, otherwise) => (Object.hasOwn(names, name) ? names[name] : visible(otherwise));
const question = (prompt) => prompt.replace(/<\|im_start\|>(system|user|assistant)\n?/g, "").replace(/<\|[a-z_]+\|>/g, "").trim();
/* The largest recorded |evidence| of a rollout, nats. */
function strongest(rollout) {
  if (rollout.strong === undefined) rollout.strong = (numbers(rollout.evidence) || []).reduce((a, d) => Math.max(a, Math.abs(d) || 0), 0);
  return rollout.strong;
}

