
/* What happened: a sentence, where the run is, what is unusual; then one right and one wrong rollout. */
function drawRuns() {
  DATA.runs.forEach((run, i) => {
    const box = make("div", "run"), name = make("b"), swatch = make("span", "swatch");
    swatch.style.background = COLOURS[i % 6];
    name.append(swatch, run.name);
    box.append(name, make("p", "headline", visible(run.headline)));
    if (run.progress) box.append(make("p", "progress", visible(run.progress) + (DATA.written ? ` (written at ${DATA.written}, read again every ${DATA.refresh} s)` : "")));
    for (const remark of run.unusual) box.append(drawRemark(remark));
    const facts = make("div", "facts");
    for (const [key, value] of Object.entries(run.settings)) {
      const fact = make("span", "fact", key.replaceAll("_", " ") + " ");
      fact.append(make("b", "", visible(String(value))));
      facts.append(fact);
    }
    box.append(facts);
    for (const note of run.notes) box.append(make("div", "note", visible(note)));
    $("runs").append(box);
  });
}
function drawRemark(remark) {
  const box = make("div", "remark"), where = make(remark.link ? "a" : "span", "", remark.page);
  if (remark.link) where.href = remark.link;
  box.append(make("b", "", remark.name), `: ${remark.says}. Try: ${remark.remedy}. `, where);
  return box;
}
function drawPicked() {
  const run = DATA.runs.find((r) => r.picked.some((i) => r.rollouts[i].evidence)) || DATA.runs.find((r) => r.picked.length);
  if (!run) { $("picked").remove(); return; }
  const shown = run.picked.map((i) => run.rollouts[i]), by = KINDS.find((kind) => shown.some((r) => numbers(r[kind])));
  const one = shown.every((r) => r.problem_id === shown[0].problem_id), titles = { true: "One right rollout", false: "One wrong rollout" };
  for (const r of shown) {
    const box = make("div", "rollout"), asked = make("pre", "", visible(question(r.prompt_text)));
    if (!one || r === shown[0]) $("asked").append(picture(run, r), asked);
    const first = Number.isInteger(r.first_wrong) ? `, first wrong at token ${r.first_wrong + 1}` : "";
    box.append(make("h3", r.correct ? "right" : "wrong", `${titles[r.correct]}: answer ${visible(r.answer === null ? "none" : r.answer)}${r.gold === null ? "" : `, gold ${visible(r.gold)}`}, step ${r.step}${first}`), drawTokens(r, false, scale(shown, by), by));
    $("pair").append(box);
  }
  if (by) {
    const legend = make("div", "legend"), [low, high] = ends(shown[0], by);
    legend.append(low, make("span", "ramp"), high);
    $("pair").append(legend);
  } else $("pair").append(make("p", "fact", "No credit was recorded: every token of a rollout has its advantage."));
}
/* While a run trains the page reads itself again; not while somebody uses it. */
function keepFresh() {
  let used = 0;
  for (const kind of ["pointermove", "keydown", "wheel", "touchmove"]) addEventListener(kind, () => { used = Date.now(); }, { passive: true });
  try { const at = sessionStorage.getItem("cepo"); if (at !== null) { sessionStorage.removeItem("cepo"); scrollTo(0, Number(at)); } } catch { /* a page without storage starts at its top */ }
  if (!DATA.refresh) return;
  setInterval(() => {
    if (Date.now() - used < 5000) return;
    try { sessionStorage.setItem("cepo", scrollY); } catch { /* as above */ }
    location.reload();
  }, 1000 * DATA.refresh);
}
