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

/* Overview */
function chart(title, unit, series, options = {}) {
  const W = 320, H = 170, left = 46, right = 8, top = 8, bottom = 24;
  const points = series.flatMap((s) => s.points);
  if (!points.length) return null;
  const figure = make("figure"), caption = make("figcaption", "", title), readout = make("small", "", unit);
  caption.append(readout);
  figure.append(caption);
  let [x0, x1] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
  let [y0, y1] = [Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[1]))];
  if (options.zero) y0 = Math.min(0, y0);
  if (x0 === x1) x1 = x0 + 1;
  if (y0 === y1) { y0 -= options.zero ? 0 : 0.5; y1 += 0.5; }
  const X = (x) => left + ((x - x0) / (x1 - x0)) * (W - left - right), Y = (y) => H - bottom - ((y - y0) / (y1 - y0)) * (H - top - bottom);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const add = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
    return node;
  };
  for (const share of [0, 0.5, 1]) {
    const y = y0 + share * (y1 - y0);
    add("line", { x1: left, x2: W - right, y1: Y(y), y2: Y(y), class: "axis" });
    add("text", { x: left - 5, y: Y(y) + 3, "text-anchor": "end" }, Math.abs(y) >= 100 ? y.toFixed(0) : String(Number(y.toPrecision(3))));
  }
  for (const share of x1 - x0 > 1 ? [0, 0.5, 1] : [0, 1]) add("text", { x: X(x0 + share * (x1 - x0)), y: H - 8, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, options.bars ? (x0 + share * (x1 - x0)).toFixed(1) : Math.round(x0 + share * (x1 - x0)));
  for (const s of series) {
    if (s.points.length === 1) add("circle", { cx: X(s.points[0][0]), cy: Y(s.points[0][1]), r: 3, fill: s.colour });
    const path = s.points.map((p, i) => (i ? "L" : "M") + X(p[0]).toFixed(1) + " " + Y(p[1]).toFixed(1)).join("");
    add("path", { d: path, fill: "none", stroke: s.colour, "stroke-width": 1.8, "stroke-dasharray": s.dash || "", "stroke-linejoin": "round" });
  }
  const cursor = add("line", { y1: top, y2: H - bottom, class: "cursor", visibility: "hidden" });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = x0 + (((event.clientX - box.left) / box.width) * W - left) / (W - left - right) * (x1 - x0);
    const near = series.filter((s) => s.points.length).map((s) => [s, s.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a))]);
    const at = near[0][1][0];
    cursor.setAttribute("x1", X(at)); cursor.setAttribute("x2", X(at)); cursor.setAttribute("visibility", "visible");
    readout.textContent = (options.bars ? "" : "step ") + (options.bars ? at.toFixed(2) + " nats" : at) + ": " + near.map(([s, p]) => `${s.name} ${p[1].toPrecision(3)}`).join(", ");
  });
  svg.addEventListener("pointerleave", () => { readout.textContent = unit; cursor.setAttribute("visibility", "hidden"); });
  figure.append(svg);
  if (series.length > 1 || DATA.runs.length > 1) {
    const legend = make("div", "legend");
    legend.style.flexWrap = "wrap";
    for (const s of series) {
      const entry = make("span", "", s.name), swatch = make("span", "swatch");
      swatch.style.background = s.dash ? `repeating-linear-gradient(90deg, ${s.colour} 0 4px, transparent 4px 6px)` : s.colour;
      swatch.style.marginRight = "4px";
      entry.prepend(swatch);
      legend.append(entry);
    }
    figure.append(legend);
  }
  return figure;
}
const perRun = (name) => DATA.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i % 6], points: run.metrics[name] || [] })).filter((s) => s.points.length);
const several = (names) => DATA.runs.flatMap((run, i) => names.map(([name, label, dash], j) => ({ name: (DATA.runs.length > 1 ? run.name + " " : "") + label, colour: DATA.runs.length > 1 ? COLOURS[i % 6] : COLOURS[j], dash: DATA.runs.length > 1 ? dash : "", points: run.metrics[name] || [] }))).filter((s) => s.points.length);
function overview() {
  DATA.runs.forEach((run, i) => {
    const row = make("div", "run"), name = make("b"), swatch = make("span", "swatch");
    swatch.style.background = COLOURS[i % 6];
    name.append(swatch, run.name);
    row.append(name);
    const fact = (label, value) => { const f = make("span", "fact", label + " "); f.append(make("b", "", value)); row.append(f); };
    for (const [key, value] of Object.entries(run.settings)) fact(key.replaceAll("_", " "), String(value));
    if (run.summary.difference) {
      const percent = (e) => `${(100 * e.mean).toFixed(1)}% [${(100 * e.low).toFixed(1)}, ${(100 * e.high).toFixed(1)}]`;
      fact("before", percent(run.summary.before.overall)); fact("after", percent(run.summary.after.overall)); fact("change", percent(run.summary.difference));
    }
    $("runs").append(row);
    for (const note of run.notes) $("notes").append(make("div", "note", run.name + ": " + visible(note)));
  });
  const histogram = DATA.runs.flatMap((run, i) => [["positive", "A > 0", ""], ["negative", "A < 0", "4 2"], ["zero", "A = 0", "1 2"]].map(([key, label, dash]) => {
    const counts = run.histogram[key] || [], total = counts.reduce((a, b) => a + b, 0);
    return { name: (DATA.runs.length > 1 ? run.name + " " : "") + label, colour: DATA.runs.length > 1 ? COLOURS[i % 6] : COLOURS[["positive", "negative", "zero"].indexOf(key)], dash, points: total ? counts.map((n, b) => [-DATA.widest + (b + 0.5) * DATA.bin, Math.log10(1 + n)]) : [] };
  })).filter((s) => s.points.length);
  const charts = [
    chart("Reward", "mean of the step", perRun("reward")),
    chart("Completion length", "tokens, mean of the step", perRun("completions/mean_length")),
    chart("Entropy", "nats a token", perRun("entropy")),
    chart("Evidence by sign", "share of credited tokens (the paper's Figure 4)", several([["credit/tokens_positive", "positive", ""], ["credit/tokens_negative", "negative", "5 3"], ["credit/tokens_zero", "zero", "2 2"]]), { zero: true }),
    chart("Mean |evidence|", "nats, by the sign of the advantage", several([["credit/evidence_abs_mean_pos", "A > 0", ""], ["credit/evidence_abs_mean_neg", "A < 0", "5 3"]]), { zero: true }),
    chart("Evidence", "log10(1 + tokens) by nats, recorded rollouts", histogram, { bars: true, zero: true }),
    chart("lambda", "strength of the credit", perRun("credit/lambda"), { zero: true }),
    chart("Clipped weights", "share of tokens", several([["credit/clip_low", "lower bound", ""], ["credit/clip_high", "upper bound", "5 3"]]), { zero: true }),
    chart("Null contrast", "90th percentile of |evidence| between irrelevant references, nats", perRun("credit/null_p90"), { zero: true }),
    chart("Undecided groups", "all right or all wrong: share", perRun("credit/groups_undecided"), { zero: true }),
    chart("Rows without r-", "fallback, share of rows", perRun("credit/rows_fallback"), { zero: true }),
    chart("Distillation loss", "nats a token", perRun("distill/loss"), { zero: true }),
    chart("Time by phase", "seconds a step", several([["phase/generation_s", "generation", ""], ["phase/credit_s", "credit", "5 3"], ["phase/update_s", "update", "2 2"]]), { zero: true }),
  ];
  $("charts").append(...charts.filter((c) => c));
}

/* Rollouts */
const state = { run: 0, shown: [], chosen: -1, by: "evidence" };
const HEIGHT = 48;
function fillFilters() {
  DATA.runs.forEach((run, i) => $("run").append(new Option(run.name, i)));
  const scored = DATA.runs.findIndex((run) => run.rollouts.some((r) => r.evidence)); // a baseline has no evidence to show
  state.run = Math.max(0, scored);
  $("run").value = state.run;
  fillSteps();
}
function fillSteps() {
  $("step").replaceChildren(new Option("all steps", ""));
  for (const step of [...new Set(DATA.runs[state.run].rollouts.map((r) => r.step))]) $("step").append(new Option("step " + step, step));
}
function filter(keep) {
  const words = $("search").value.toLowerCase(), verdict = $("verdict").value, step = $("step").value, least = Number($("least").value) || 0;
  state.shown = DATA.runs[state.run].rollouts.filter((r) =>
    (!verdict || r.correct === (verdict === "right")) && (!step || r.step === Number(step)) && (!least || strongest(r) >= least) &&
    (!words || [r.problem_id, r.prompt_text, r.answer, r.gold, r.tokens.join("")].some((text) => text && text.toLowerCase().includes(words))));
  const order = $("sort").value;
  if (order === "evidence") state.shown.sort((a, b) => strongest(b) - strongest(a));
  if (order === "reward") state.shown.sort((a, b) => b.reward - a.reward);
  $("space").style.height = state.shown.length * HEIGHT + "px";
  if (!keep) { state.chosen = state.shown.length ? 0 : -1; $("list").scrollTop = 0; }
  drawList(); drawDetail();
}
function drawList() {
  const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 5), last = Math.min(state.shown.length, first + Math.ceil(list.clientHeight / HEIGHT) + 10);
  const items = [];
  for (let i = first; i < last; i++) {
    const r = state.shown[i], item = make("div", "item" + (i === state.chosen ? " on" : ""));
    item.style.top = i * HEIGHT + "px";
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", i === state.chosen);
    item.append(make("span", r.correct ? "right" : "wrong", r.correct === null ? "· " : r.correct ? "✓ " : "✗ "), `step ${r.step}, row ${r.row}` + (r.evidence ? ` · ${strongest(r).toFixed(1)} nats` : ""), make("small", "", visible(r.problem_id) + " → " + visible(r.answer === null ? "no answer" : r.answer)));
    item.addEventListener("click", () => choose(i));
    items.push(item);
  }
  if (!state.shown.length) items.push(make("div", "item", DATA.runs[state.run].rollouts.length ? "nothing matches" : "no rollouts were recorded"));
  $("space").replaceChildren(...items);
}
function choose(index) {
  if (index < 0 || index >= state.shown.length) return;
  state.chosen = index;
  const list = $("list"), top = index * HEIGHT;
  if (top < list.scrollTop || top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
  drawList(); drawDetail();
  link();
}
const link = (token) => {
  const r = state.shown[state.chosen];
  if (r) history.replaceState(null, "", `#r=${state.run}.${r.step}.${r.row}${token === undefined ? "" : "." + token}`);
};
function chooser(kinds) {
  const box = make("span", "seg");
  for (const kind of kinds) {
    const button = make("button", "", kind);
    button.setAttribute("aria-pressed", kind === state.by);
    button.addEventListener("click", () => { state.by = kind; drawDetail(); });
    box.append(button);
  }
  return box;
}
/* What the two ends of the colours mean. Evidence compares the prompts of a rule; of a rule of one's own we know its sign alone. */
function ends(rollout) {
  if (state.by === "weight") return ["less credit", "more credit"];
  if (state.by === "advantage") return ["below A", "above A"];
  const told = Object.keys(rollout.told).filter((name) => rollout.told[name].texts.length).sort();
  if (told.join() === "minus,plus") return ["wrong answer favours it", "right answer favours it"];
  return told.join() === "plus" ? ["less likely once told r+", "more likely once told r+"] : ["evidence below 0", "evidence above 0"];
}
const inWords = (told) => (told.texts.length ? told.texts.join(" | ") : "none");
const source = (told) => told.source + (told.is_own ? ", its own answer" : "");
function facts(rollout) {
  const box = make("div", "refs");
  const fact = (label, value, note) => { const part = make("span", "", label + " "); part.append(make("code", "", visible(String(value)))); if (note) part.append(make("small", "", " " + visible(note))); box.append(part); };
  for (const [name, told] of Object.entries(rollout.told)) fact(named(REFERENCES, name, name), inWords(told), source(told));
  if (rollout.gold !== null) fact("gold", rollout.gold);
  fact("method", rollout.method);
  if (rollout.strength) { fact("lambda", rollout.strength.toFixed(2)); fact("eps_w", rollout.clip.toFixed(2)); }
  if (rollout.dead_zone) fact("dead zone", rollout.dead_zone.toFixed(3) + " nats");
  return box;
}
function drawDetail() {
  const detail = $("detail"), chosen = state.shown[state.chosen];
  detail.replaceChildren();
  if (!chosen) return;
  const run = DATA.runs[state.run], group = run.rollouts.filter((r) => r.step === chosen.step && r.group === chosen.group);
  const problem = make("div", "problem"), words = make("div");
  if (chosen.image && run.images[chosen.image]) { const img = make("img"); img.src = run.images[chosen.image]; img.alt = "the problem's image"; img.onload = () => img.classList.toggle("small", img.naturalWidth <= 256); problem.append(img); }
  words.append(make("h2", "", visible(chosen.problem_id)), make("pre", "", visible(question(chosen.prompt_text))), facts(chosen));
  problem.append(words);
  detail.append(problem);
  const kinds = KINDS.filter((kind) => group.some((r) => numbers(r[kind])));
  if (kinds.length) {
    if (!kinds.includes(state.by)) state.by = kinds[0];
    const tools = make("div", "tools"), legend = make("span", "legend"), [low, high] = ends(chosen);
    legend.append(low, make("span", "ramp"), high);
    tools.append(chooser(kinds), legend);
    detail.append(tools);
  }
  for (const r of [chosen, ...group.filter((r) => r !== chosen)]) detail.append(drawRollout(r, chosen, group));
}
function drawRollout(r, chosen, group) {
  const on = r === chosen, box = make("div", "rollout" + (on ? " on" : "")), heading = [r.correct === null ? "not graded" : r.correct ? "✓ right" : "✗ wrong", `row ${r.row}`, `answer ${r.answer === null ? "none" : r.answer}`, `A ${number(r.base_advantage)}`];
  for (const [name, told] of Object.entries(r.told)) if (!on && JSON.stringify(told) !== JSON.stringify(chosen.told[name])) heading.push(`${named(REFERENCES, name, name)} ${inWords(told)} (${source(told)})`);
  if (!numbers(r[state.by])) heading.push(KINDS.some((kind) => numbers(r[kind])) ? `no ${state.by} was recorded` : "no credit was recorded, A for every token");
  box.append(make("h3", "", visible(heading.join(" · "))), drawTokens(r, on, scale(group)));
  return box;
}
/* What a number is measured from, and the distance from there that has the full colour. */
const neutral = (r) => ({ evidence: 0, weight: 1, advantage: r.base_advantage })[state.by];
function scale(group) {
  if (state.by === "evidence") return 1;
  if (state.by === "weight") return group[0].clip || 0.5;
  const least = group.reduce((a, r) => Math.max(a, 0.05 * Math.abs(r.base_advantage) || 0), 1e-3);
  return group.reduce((a, r) => (numbers(r.advantage) || []).reduce((b, v) => Math.max(b, Math.abs(v - r.base_advantage) || 0), a), least);
}
function drawTokens(r, on, full) {
  const values = numbers(r[state.by]), box = make("div", "tokens");
  r.tokens.forEach((token, t) => {
    const node = make("span", "t", visible(token)), share = values ? Math.max(-1, Math.min(1, (values[t] - neutral(r)) / full)) : 0;
    if (Math.abs(share) > 0.02) { node.style.background = `rgba(var(--${share > 0 ? "high" : "low"}),${(0.12 + 0.5 * Math.abs(share)).toFixed(2)})`; node.classList.add(share > 0 ? "hi" : "lo"); }
    if (values) node.dataset.value = values[t].toFixed(3);
    node.tabIndex = on ? 0 : -1;
    node.dataset.t = t;
    node.addEventListener("pointerenter", () => hover(r, t));
    node.addEventListener("focus", () => { hover(r, t); if (on) link(t); });
    box.append(node);
  });
  return box;
}
function hover(r, t) {
  const parts = [["token", visible(r.tokens[t]), "code"], ["position", `${t + 1} of ${r.tokens.length}`, "b"]];
  for (const [name, stream] of Object.entries(r.logps)) parts.push([named(PROMPTS, name, `log P(${name})`), number(numbers(stream)[t]), "b"]);
  for (const kind of KINDS) {
    const values = numbers(r[kind]);
    if (values) parts.push([kind, kind === "weight" ? values[t].toFixed(3) : number(values[t]) + (kind === "evidence" ? " nats" : ""), "b"]);
  }
  if (!numbers(r.advantage)) parts.push(["advantage", number(r.advantage), "b"]);
  $("hover").replaceChildren(...parts.map(([label, value, tag]) => { const part = make("span", "", label + " "); part.append(make(tag, "", value)); return part; }));
}
document.addEventListener("keydown", (event) => {
  if (/INPUT|SELECT/.test(event.target.tagName)) return;
  if (event.key === "j" || (event.key === "ArrowDown" && event.target.id === "list")) { choose(state.chosen + 1); event.preventDefault(); }
  if (event.key === "k" || (event.key === "ArrowUp" && event.target.id === "list")) { choose(state.chosen - 1); event.preventDefault(); }
  if (event.target.classList.contains("t") && event.key.startsWith("Arrow")) {
    const next = event.key === "ArrowRight" || event.key === "ArrowDown" ? event.target.nextElementSibling : event.target.previousElementSibling;
    if (next) next.focus();
    event.preventDefault();
  }
});
function open() {
  const place = /^#r=(\d+)\.(\d+)\.(\d+)(?:\.(\d+))?$/.exec(location.hash);
  if (!place) return;
  const [, run, step, row, token] = place.map(Number);
  if (!DATA.runs[run]) return;
  state.run = run; $("run").value = run; fillSteps(); filter();
  const index = state.shown.findIndex((r) => r.step === step && r.row === row);
  if (index < 0) return;
  choose(index);
  $("rollouts").scrollIntoView();
  if (place[4] !== undefined) { const node = document.querySelector(`.rollout.on .t[data-t="${token}"]`); if (node) node.focus(); }
}
overview();
fillFilters();
filter();
for (const id of ["search", "verdict", "step", "sort", "least"]) $(id).addEventListener("input", () => filter());
$("run").addEventListener("input", () => { state.run = Number($("run").value); fillSteps(); filter(); });
$("list").addEventListener("scroll", () => requestAnimationFrame(drawList));
addEventListener("hashchange", open);
open();
document.documentElement.dataset.ready = Math.round(performance.now());
