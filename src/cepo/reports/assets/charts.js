
/* Curves. A series has a name, a colour, a dash, and points [x, y], or [x, y, low, high] where options.points is set. */
const compact = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3))));
/* Each point's mean over the tenth part of the steps around it; at the ends over those that there are. */
function smooth(points) {
  const half = Math.max(1, Math.floor(points.length / 20)), sums = [0];
  for (const p of points) sums.push(sums[sums.length - 1] + p[1]);
  return points.map((p, i) => {
    const from = Math.max(0, i - half), to = Math.min(points.length, i + half + 1);
    return [p[0], (sums[to] - sums[from]) / (to - from)];
  });
}
function frame(series, options) {
  const W = 320, H = 170, left = 46, right = 8, top = 8, bottom = 24, points = series.flatMap((s) => s.points);
  const xs = points.map((p) => p[0]), ys = points.flatMap((p) => p.slice(1)), least = (a) => a.reduce((x, y) => Math.min(x, y)), most = (a) => a.reduce((x, y) => Math.max(x, y));
  let [x0, x1, y0, y1] = [least(xs), most(xs), least(ys), most(ys)];
  if (options.zero) y0 = Math.min(0, y0);
  if (x0 === x1) x1 = x0 + 1;
  if (y0 === y1) { y0 -= options.zero ? 0 : 0.5; y1 += 0.5; }
  return {
    W, H, left, right, top, bottom, x0, x1, y0, y1,
    X: (x) => left + ((x - x0) / (x1 - x0)) * (W - left - right), Y: (y) => H - bottom - ((y - y0) / (y1 - y0)) * (H - top - bottom),
    x: (at) => x0 + ((at * W - left) / (W - left - right)) * (x1 - x0),
  };
}
function axes(add, f, options) {
  for (const share of [0, 0.5, 1]) {
    const y = f.y0 + share * (f.y1 - f.y0), x = f.x0 + share * (f.x1 - f.x0);
    add("line", { x1: f.left, x2: f.W - f.right, y1: f.Y(y), y2: f.Y(y), class: "axis" });
    add("text", { x: f.left - 5, y: f.Y(y) + 3, "text-anchor": "end" }, compact(y) + (options.percent ? "%" : ""));
    if (share !== 0.5 || f.x1 - f.x0 > 1) add("text", { x: f.X(x), y: f.H - 8, "text-anchor": ["start", "middle", "end"][2 * share] }, options.bars ? x.toFixed(1) : Math.round(x));
  }
}
function drawSeries(add, f, s, options) {
  const path = (points) => points.map((p, i) => (i ? "L" : "M") + f.X(p[0]).toFixed(1) + " " + f.Y(p[1]).toFixed(1)).join("");
  const line = (points, more) => add("path", { d: path(points), fill: "none", stroke: s.colour, "stroke-linejoin": "round", ...more });
  if (options.points) {
    line(s.points, { "stroke-width": 1, opacity: 0.45 });
    for (const [x, y, low, high] of s.points) {
      add("line", { x1: f.X(x), x2: f.X(x), y1: f.Y(low), y2: f.Y(high), stroke: s.colour, "stroke-width": 1.4, class: "interval" });
      add("circle", { cx: f.X(x), cy: f.Y(y), r: 3, fill: s.colour });
    }
    return;
  }
  if (s.points.length === 1) add("circle", { cx: f.X(s.points[0][0]), cy: f.Y(s.points[0][1]), r: 3, fill: s.colour });
  if (s.shown !== s.points) line(s.points, { "stroke-width": 1, opacity: 0.28, class: "raw" });
  line(s.shown, { "stroke-width": 1.9, "stroke-dasharray": s.dash || "", class: "smooth" });
}
/* What the curves say at the place nearest to x; null where nothing is. */
function readAt(series, x, options) {
  const near = series.map((s) => [s, s.points.reduce((best, p, i) => (Math.abs(p[0] - x) < Math.abs(s.points[best][0] - x) ? i : best), 0)]);
  const at = near[0][0].points[near[0][1]][0];
  const value = ([s, i]) => {
    const p = s.points[i];
    if (options.points) return `${s.name} ${p[1].toFixed(1)}% [${p[2].toFixed(1)}, ${p[3].toFixed(1)}]`;
    return `${s.name} ${s.shown[i][1].toPrecision(3)}` + (s.shown === s.points ? "" : ` (this step ${p[1].toPrecision(3)})`);
  };
  return [at, (options.bars ? at.toFixed(2) + " nats: " : `step ${at}: `) + near.map(value).join(", ")];
}
function chart(title, unit, given, options = {}) {
  const series = given.map((s) => ({ ...s, shown: options.bars || options.points || s.points.length < 8 ? s.points : smooth(s.points) }));
  if (!series.length) return null;
  const figure = make("figure"), caption = make("figcaption", "", title), readout = make("small", "", unit), f = frame(series, options);
  caption.append(readout);
  figure.append(caption);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [k, v] of Object.entries({ viewBox: `0 0 ${f.W} ${f.H}`, role: "img", "aria-label": title })) svg.setAttribute(k, v);
  const add = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
    return node;
  };
  axes(add, f, options);
  for (const s of series) drawSeries(add, f, s, options);
  const cursor = add("line", { y1: f.top, y2: f.H - f.bottom, class: "cursor", visibility: "hidden" });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), [at, text] = readAt(series, f.x((event.clientX - box.left) / box.width), options);
    for (const [k, v] of Object.entries({ x1: f.X(at), x2: f.X(at), visibility: "visible" })) cursor.setAttribute(k, v);
    readout.textContent = text;
  });
  svg.addEventListener("pointerleave", () => { readout.textContent = unit; cursor.setAttribute("visibility", "hidden"); });
  figure.append(svg);
  if (series.length > 1 || DATA.runs.length > 1) figure.append(legend(series));
  return figure;
}
function legend(series) {
  const box = make("div", "legend");
  box.style.flexWrap = "wrap";
  for (const s of series) {
    const entry = make("span", "", s.name), swatch = make("span", "swatch");
    swatch.style.background = s.dash ? `repeating-linear-gradient(90deg, ${s.colour} 0 4px, transparent 4px 6px)` : s.colour;
    swatch.style.marginRight = "4px";
    entry.prepend(swatch);
    box.append(entry);
  }
  return box;
}
const perRun = (name) => DATA.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i % 6], points: run.metrics[name] || [] })).filter((s) => s.points.length);
const several = (names, points = (run, name) => run.metrics[name] || []) => DATA.runs.flatMap((run, i) => names.map(([name, label, dash], j) => ({ name: (DATA.runs.length > 1 ? run.name + " " : "") + label, colour: DATA.runs.length > 1 ? COLOURS[i % 6] : COLOURS[j], dash: DATA.runs.length > 1 ? dash : "", points: points(run, name) }))).filter((s) => s.points.length);
const evaluations = () => DATA.runs.map((run, i) => ({ name: run.name, colour: COLOURS[i % 6], points: run.curve.map(([step, ...shares]) => [step, ...shares.map((share) => 100 * share)]) })).filter((s) => s.points.length);
function histogram(run, sign) {
  const counts = run.histogram[sign] || [];
  return counts.some((n) => n) ? counts.map((n, b) => [-DATA.widest + (b + 0.5) * DATA.bin, Math.log10(1 + n)]) : [];
}
function drawCharts() {
  const charts = [
    chart("Accuracy", "held-out problems, 95% intervals", evaluations(), { points: true, percent: true }),
    chart("Reward", "mean of the step", perRun("reward")),
    chart("Completion length", "tokens, mean of the step", perRun("completions/mean_length")),
    chart("Entropy", "nats a token", perRun("entropy")),
    chart("Evidence by sign", "share of credited tokens (the paper's Figure 4)", several([["credit/tokens_positive", "positive", ""], ["credit/tokens_negative", "negative", "5 3"], ["credit/tokens_zero", "zero", "2 2"]]), { zero: true }),
    chart("Mean |evidence|", "nats, by the sign of the advantage", several([["credit/evidence_abs_mean_pos", "A > 0", ""], ["credit/evidence_abs_mean_neg", "A < 0", "5 3"]]), { zero: true }),
    chart("Evidence", "log10(1 + tokens) by nats, recorded rollouts", several([["positive", "A > 0", ""], ["negative", "A < 0", "4 2"], ["zero", "A = 0", "1 2"]], histogram), { bars: true, zero: true }),
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
