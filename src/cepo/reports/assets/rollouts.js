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
function ends(rollout, by) {
  if (by === "weight") return ["less credit", "more credit"];
  if (by === "advantage") return ["below A", "above A"];
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
  problem.append(picture(run, chosen));
  words.append(make("h2", "", visible(chosen.problem_id)), make("pre", "", visible(question(chosen.prompt_text))), facts(chosen));
  problem.append(words);
  detail.append(problem);
  const kinds = KINDS.filter((kind) => group.some((r) => numbers(r[kind])));
  if (kinds.length) {
    if (!kinds.includes(state.by)) state.by = kinds[0];
    const tools = make("div", "tools"), legend = make("span", "legend"), [low, high] = ends(chosen, state.by);
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
  box.append(make("h3", "", visible(heading.join(" · "))), drawTokens(r, on, scale(group, state.by), state.by));
  return box;
}
/* What a number is measured from, and the distance from there that has the full colour. */
const neutral = (r, by) => ({ evidence: 0, weight: 1, advantage: r.base_advantage })[by];
function scale(group, by) {
  if (by === "evidence") return 1;
  if (by === "weight") return group[0].clip || 0.5;
  const least = group.reduce((a, r) => Math.max(a, 0.05 * Math.abs(r.base_advantage) || 0), 1e-3);
  return group.reduce((a, r) => (numbers(r.advantage) || []).reduce((b, v) => Math.max(b, Math.abs(v - r.base_advantage) || 0), a), least);
}
/* The image of a rollout's problem; nothing where there is none. */
function picture(run, r) {
  if (!r.image || !run.images[r.image]) return "";
  const img = make("img");
  img.src = run.images[r.image];
  img.alt = "the problem's image";
  img.onload = () => img.classList.toggle("small", img.naturalWidth <= 256);
  return img;
}
function drawTokens(r, on, full, by) {
  const values = by ? numbers(r[by]) : null, box = make("div", "tokens");
  r.tokens.forEach((token, t) => {
    const turn = r.turns.find((one) => one.start === t), isTool = r.said_by_tools.some(([start, end]) => t >= start && t < end);
    if (turn) box.append(make("span", "turn", turn.words));
    const node = make("span", isTool ? "t said" : "t", visible(token)), share = values && !isTool ? Math.max(-1, Math.min(1, (values[t] - neutral(r, by)) / full)) : 0;
    if (Math.abs(share) > 0.02) { node.style.background = `rgba(var(--${share > 0 ? "high" : "low"}),${(0.12 + 0.5 * Math.abs(share)).toFixed(2)})`; node.classList.add(share > 0 ? "hi" : "lo"); }
    if (values) node.dataset.value = values[t].toFixed(3);
    if (t === r.first_wrong) { node.classList.add("first"); node.append(make("i", "", "\u25c2 first wrong")); }
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
drawRuns();
drawPicked();
drawCharts();
fillFilters();
filter();
for (const id of ["search", "verdict", "step", "sort", "least"]) $(id).addEventListener("input", () => filter());
$("run").addEventListener("input", () => { state.run = Number($("run").value); fillSteps(); filter(); });
$("list").addEventListener("scroll", () => requestAnimationFrame(drawList));
addEventListener("hashchange", open);
open();
keepFresh();
document.documentElement.dataset.ready = Math.round(performance.now());
