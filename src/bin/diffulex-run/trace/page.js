"use strict";
const state = document.documentElement.dataset;
window.onerror = message => { state.state = "error: " + message; };
const $ = id => document.getElementById(id);
const trace = JSON.parse($("trace").textContent);
const { passes, summary, decoding } = trace;
const prompt = trace.prompt.ids.length;

/* ---- what is known about every position ---- */
// { token, text, score, pass, edit } for each token that it ever held; pass -1 is the prompt.
const states = Array.from({ length: trace.length }, () => []);
trace.prompt.ids.forEach((token, pos) => {
  if (token !== decoding.mask_id) states[pos].push({ token, text: trace.prompt.texts[pos], pass: -1 });
});
passes.forEach((pass, at) => {
  pass.revealed.forEach(r => states[r.pos].push({ token: r.token, text: r.text, score: r.score, pass: at }));
  (pass.edits || []).forEach(r => states[r.pos].push({ token: r.token, text: r.text, score: r.score, pass: at, edit: true }));
});
const changed = pass => [...pass.revealed, ...(pass.edits || [])].map(r => r.pos);
const tokenAt = (pos, step) => states[pos].findLast(t => t.pass < step);
const blockStarts = new Set(passes.filter(p => p.block).map(p => p.block[0]));
// Clamped to [0, 1]: entropies become the probability that a uniform distribution of that entropy gives each token.
const sure = score => Math.min(1, Math.max(0, decoding.confidence === "entropy" ? Math.exp(score) : score));

/* ---- colours that do not depend on telling red from green ---- */
const hex = c => [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16));
const RAMPS = {
  sure: ["#d55e00", "#e69f00", "#b5ab6f", "#56b4e9", "#0072b2"],
  pass: ["#6a51a3", "#3b6fb0", "#21918c", "#5ec962", "#e8d21d"],
};
function ramp(name, t) {
  const stops = RAMPS[name], x = Math.min(1, Math.max(0, t)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
  const [a, b] = [hex(stops[i]), hex(stops[i + 1])];
  return "rgb(" + a.map((v, j) => Math.round(v + (b[j] - v) * (x - i))).join(" ") + ")";
}
// Most probabilities crowd near 1: the scale counts the nines.
const nines = p => Math.min(1, -Math.log10(Math.max(1e-3, 1 - p)) / 3);
let mode = "sure";
const colourOf = t => mode === "sure" ? ramp("sure", nines(sure(t.score))) : ramp("pass", t.pass / Math.max(1, passes.length - 1));

/* ---- the canvas: one span for each position, changed only where a step differs from the one before ---- */
const canvas = $("canvas"), spans = [];
const FOLD = 160;
const firstGap = states.findIndex(all => !all.length || all[0].pass >= 0);
const folded = firstGap > FOLD ? firstGap - 40 : 0;
function write(span, text) {
  if (text == null) return;
  const visible = text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, c => String.fromCharCode(0x2400 + (c.charCodeAt(0) & 0x1f)));
  span.textContent = "";
  visible.split(/(\n)/).forEach(part => {
    if (part === "\n") span.append(Object.assign(document.createElement("span"), { className: "nl", textContent: "↵" }), "\n");
    else if (part) span.append(part);
  });
  if (text === "") span.textContent = "∅";
}
const label = t => t.text == null ? t.token + " " : t.text;
const special = text => text != null && /^<\|?[^<>\s]+\|?>$/.test(text) && text.length > 3;
for (let pos = 0; pos < trace.length; pos++) {
  const span = document.createElement("span");
  span.dataset.p = pos;
  spans.push(span);
}
// The class list of a position that is no candidate.
function paint(pos, step) {
  const span = spans[pos], t = tokenAt(pos, step), known = Boolean(t);
  let name = known ? (t.pass < 0 ? "t p" : "t k") : "t m";
  if (known && special(t.text)) name += " special";
  if (blockStarts.has(pos)) name += " b";
  if (pos >= trace.answer_end && pos >= prompt) name += " cut";
  if (pos < folded) name += " fold";
  span.className = name;
  if (known) {
    write(span, label(t));
    if (t.pass >= 0) span.style.setProperty("--c", colourOf(t));
  } else {
    span.textContent = "\u200b";
  }
}
let step = -1, marked = [], ghosts = [];
function go(to, scroll = true) {
  to = Math.max(0, Math.min(passes.length, to));
  marked.forEach(pos => spans[pos].classList.remove("new"));
  const touched = ghosts;
  ghosts = [];
  marked = [];
  if (step < 0) for (let pos = 0; pos < trace.length; pos++) paint(pos, to);
  else for (let i = Math.min(step, to); i < Math.max(step, to); i++) changed(passes[i]).forEach(pos => paint(pos, to));
  touched.forEach(pos => paint(pos, to));
  step = to;
  const pass = passes[to - 1];
  if (pass) {
    marked = changed(pass);
    marked.forEach(pos => spans[pos].classList.add("new"));
    if ($("ghosts").checked) pass.candidates.forEach(c => {
      const span = spans[c.pos];
      span.classList.add("g");
      write(span, label(c));
      span.style.setProperty("--c", ramp("sure", nines(sure(c.score))));
      ghosts.push(c.pos);
    });
  }
  if (scroll && marked.length) {
    const span = spans[Math.min(...marked)], top = span.offsetTop;
    if (top < canvas.scrollTop || top > canvas.scrollTop + canvas.clientHeight - 40) canvas.scrollTop = top - canvas.clientHeight / 2;
  }
  $("slider").value = to;
  $("at").textContent = to + " / " + passes.length;
  describe(pass);
  document.querySelectorAll(".cursor").forEach(rect => moveCursor(rect));
  state.step = to;
}

/* ---- words ---- */
const fixed = (x, n) => Number(x).toFixed(n);
const milliseconds = ms => ms >= 10000 ? fixed(ms / 1000, 1) + " s" : ms >= 100 ? fixed(ms, 0) + " ms" : fixed(ms, ms >= 1 ? 1 : 3) + " ms";
const plural = (n, word) => n + " " + word + (n === 1 ? "" : "s");
// A position that is computed again does not come from the cache, too.
const cached = pass => Math.min(pass.cached, Math.max(0, trace.length - (pass.rows[1] - pass.rows[0])));
function cachedText(pass) {
  return cached(pass) ? plural(cached(pass), "position") + " from the cache" : "nothing from the cache";
}
function passText(pass) {
  const n = pass.rows[1] - pass.rows[0], stayed = pass.candidates.length + (pass.candidates_left_out || 0);
  const drew = pass.revealed.length || stayed ? ", revealed " + pass.revealed.length + (stayed ? " of " + plural(pass.revealed.length + stayed, "mask") : "") : "";
  const edited = (pass.edits || []).length ? ", changed " + pass.edits.length : "";
  return "computed " + plural(n, "row") + " (" + pass.rows[0] + "–" + (pass.rows[1] - 1) + "), " + cachedText(pass) + drew + edited + ", " + milliseconds(pass.ms);
}
function describe(pass) {
  const what = $("what");
  what.textContent = "";
  if (!pass) { what.textContent = "Before the first pass: the prompt, and masks for everything else."; return; }
  const dot = Object.assign(document.createElement("i"), { className: "dot" });
  dot.style.background = "var(--" + pass.kind + ")";
  const kind = Object.assign(document.createElement("b"), { textContent: pass.kind });
  what.append(dot, kind, ": " + passText(pass));
  if (pass.block) what.append(". Block " + pass.block[0] + "–" + (pass.block[1] - 1) + " is finished.");
}
function entries(list, object, prefix = "") {
  for (const [key, value] of Object.entries(object)) {
    const name = (prefix + key).replace(/_/g, " ");
    if (value && typeof value === "object" && !Array.isArray(value)) { entries(list, value, prefix + key + ": "); continue; }
    list.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value === null ? "–" : Array.isArray(value) ? value.join(", ") : String(value) }));
  }
}
function heading() {
  const name = trace.model.split(/[\\/]/).filter(Boolean).pop() || trace.model;
  $("title").append(name + " ", Object.assign(document.createElement("small"), { textContent: trace.family }));
  document.title = name + " – diffulex trace";
  const block = decoding.block ? ", blocks of " + decoding.block : "";
  const rule = decoding.unmask.rule, bound = decoding.unmask.threshold ?? decoding.unmask.factor ?? decoding.unmask.bound;
  $("subtitle").textContent = trace.attention + block + "; unmasking by " + rule + (bound == null ? "" : " " + bound) + ", confidence by " +
    decoding.confidence + "; " + summary.kernels + "; " + plural(summary.threads, "thread");
  const cache = summary.cache;
  for (const [value, text] of [
    [summary.new_tokens, "new tokens (prompt: " + summary.prompt_tokens + ")"],
    [summary.nfe, "forward passes (prefill: " + summary.prefill_passes + ")"],
    [fixed(summary.tokens_per_forward, 2), "tokens per forward"],
    [fixed(summary.tokens_per_second, summary.tokens_per_second < 100 ? 1 : 0), "tokens per second"],
    [cache.plan, "cache, " + (cache.approximate ? "approximate" : "exact") + ", " + cache.kv],
    [summary.finish_reason, "ended the text"],
  ]) {
    const tile = document.createElement("div");
    tile.append(Object.assign(document.createElement("b"), { textContent: value }), Object.assign(document.createElement("span"), { textContent: text }));
    $("tiles").append(tile);
  }
  entries($("settings").querySelector("dl"), { model: trace.model, program: trace.program, level: trace.level, kernels: summary.kernels, seed: trace.seed, ...decoding, seconds: summary.seconds });
  if (trace.prompt.text == null) $("prompt-card").hidden = true;
  else entries($("prompt-card").querySelector("dl"), { text: trace.prompt.text });
  const left = passes.reduce((sum, pass) => sum + (pass.candidates_left_out || 0), 0);
  if (left) $("note").textContent = "Of each pass the " + trace.candidates_per_pass + " surest candidates are kept; " + left + " were left out. ";
}
function legend() {
  const stops = Array.from({ length: 21 }, (_, i) => ramp(mode, i / 20));
  $("ramp").style.background = "linear-gradient(90deg, " + stops.join(",") + ")";
  $("scale-name").textContent = mode === "sure" ? decoding.confidence : "pass";
  const last = passes.length;
  const ticks = mode === "pass" ? [1, Math.round(last / 2), last] :
    (decoding.confidence === "entropy" ? [0, .9, .99, .999].map(p => p ? fixed(-Math.log(p), p > .98 ? 3 : 2) : "∞") : ["0", ".9", ".99", ".999"]);
  $("ticks").replaceChildren(...ticks.map(tick => Object.assign(document.createElement("span"), { textContent: tick })));
}

/* ---- charts: a path for each series, so thousands of passes stay cheap ---- */
const LEFT = 44, TALL = 84, TOP = 6, HIGH = TOP + TALL + 6;
const KINDS = ["prefill", "denoise", "commit"];
let wide = 0;
const slot = () => (wide - LEFT) / Math.max(1, passes.length);
function moveCursor(rect) {
  rect.setAttribute("x", LEFT + (step - 1) * slot() - 1);
  rect.setAttribute("width", Math.max(2, slot() + 1));
  rect.style.display = step > 0 ? "" : "none";
}
function svg(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}
const round = x => Math.round(x * 100) / 100;
function bars(spec, kind, scale) {
  const width = slot(), gap = width > 4 ? Math.min(3, width * .18) : 0;
  let path = "";
  passes.forEach((pass, i) => {
    if (kind && pass.kind !== kind) return;
    const [from, to] = spec(pass);
    if (to > from) path += "M" + round(LEFT + i * width + gap / 2) + " " + round(TOP + TALL - to * scale) + "h" + round(width - gap) + "v" + round((to - from) * scale) + "h" + round(gap - width) + "z";
  });
  return path;
}
function nice(max) {
  const power = 10 ** Math.floor(Math.log10(max || 1));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map(x => x * power).find(x => x >= max - 1e-9);
}
function chart(spec) {
  const box = Object.assign(document.createElement("div"), { className: "chart" });
  const head = document.createElement("header");
  head.append(Object.assign(document.createElement("h2"), { textContent: spec.title }));
  spec.keys.forEach(([colour, text]) => {
    const key = document.createElement("span"), dot = Object.assign(document.createElement("i"), { className: "dot" });
    dot.style.background = "var(--" + colour + ")";
    key.append(...(colour ? [dot] : []), text);
    head.append(key);
  });
  box.append(head);
  $("charts").append(box);
  const root = svg("svg", { height: HIGH, role: "img", "aria-label": spec.title }, box);
  spec.draw = () => {
    root.replaceChildren();
    root.setAttribute("viewBox", "0 0 " + wide + " " + HIGH);
    const max = nice(Math.max(...passes.map(spec.top), 1e-9)), scale = TALL / max;
    for (const value of [0, max / 2, max]) {
      const y = Math.round(TOP + TALL - value * scale) + .5;
      svg("line", { x1: LEFT, x2: wide, y1: y, y2: y, class: "grid" }, root);
      svg("text", { x: LEFT - 7, y: y + 3.5, "text-anchor": "end" }, root).textContent = spec.unit(value);
    }
    spec.series.forEach(([colour, kind, part]) => svg("path", { d: bars(part, kind, scale), fill: "var(--" + colour + ")" }, root));
    if (spec.mean != null) {
      const y = round(TOP + TALL - spec.mean * scale);
      svg("line", { x1: LEFT, x2: wide, y1: y, y2: y, class: "mean" }, root);
    }
    moveCursor(svg("rect", { y: 0, height: TOP + TALL + 1, class: "cursor" }, root));
  };
  const passAt = event => Math.floor((event.clientX - root.getBoundingClientRect().left - LEFT) / slot());
  root.addEventListener("click", event => { pause(); go(passAt(event) + 1); });
  root.addEventListener("pointermove", event => {
    const i = passAt(event), pass = passes[i];
    if (pass) tip(event, pass.kind + " pass " + (i + 1), [passText(pass)]); else $("tip").hidden = true;
  });
  root.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  return spec;
}
function charts() {
  const rows = pass => pass.rows[1] - pass.rows[0];
  const present = KINDS.filter(kind => passes.some(pass => pass.kind === kind));
  const anyCached = passes.some(pass => pass.cached);
  const whole = x => x >= 10000 ? fixed(x / 1000, 0) + "k" : x % 1 ? "" : String(x);
  const specs = [
    chart({ title: "Rows of each forward pass", keys: [...present.map(kind => [kind, "computed: " + kind]), ...(anyCached ? [["cached", "from the cache"]] : [])],
      top: pass => rows(pass) + cached(pass), unit: whole,
      series: [...present.map(kind => [kind, kind, pass => [0, rows(pass)]]), ["cached", null, pass => [rows(pass), rows(pass) + cached(pass)]]] }),
    chart({ title: "Tokens revealed", keys: [["", "dashed: " + fixed(summary.tokens_per_forward, 2) + " tokens per forward, after the stop"]],
      top: pass => pass.revealed.length, unit: whole, mean: summary.tokens_per_forward,
      series: present.map(kind => [kind, kind, pass => [0, pass.revealed.length]]) }),
    chart({ title: "Time", keys: [["", "milliseconds of each pass, with the choice of what to reveal"]],
      top: pass => pass.ms, unit: x => x === 0 ? "0" : x >= 100 ? fixed(x, 0) : x >= 10 ? fixed(x, 1) : fixed(x, 2),
      series: present.map(kind => [kind, kind, pass => [0, pass.ms]]) }),
  ];
  const axis = Object.assign(document.createElement("div"), { className: "axis" });
  [1, passes.length].filter((n, i, all) => all.indexOf(n) === i).forEach(n => axis.append(Object.assign(document.createElement("span"), { textContent: "pass " + n })));
  $("charts").append(axis);
  new ResizeObserver(() => {
    const now = Math.floor(axis.clientWidth);
    if (now && now !== wide) { wide = now; specs.forEach(spec => spec.draw()); }
  }).observe($("charts"));
  wide = Math.floor(axis.clientWidth) || 1000;
  specs.forEach(spec => spec.draw());
}

/* ---- tips ---- */
function tip(event, title, lines) {
  const box = $("tip");
  box.replaceChildren(Object.assign(document.createElement("code"), { textContent: title }), ...lines.map(text => Object.assign(document.createElement("div"), { textContent: text })));
  box.hidden = false;
  const { offsetWidth: w, offsetHeight: h } = box;
  box.style.left = Math.max(4, Math.min(innerWidth - w - 8, event.clientX + 14)) + "px";
  box.style.top = (event.clientY + h + 26 > innerHeight ? Math.max(4, event.clientY - h - 12) : event.clientY + 18) + "px";
}
const quoted = text => text == null ? "" : JSON.stringify(text);
function tokenTip(event) {
  const span = event.target.closest("[data-p]");
  if (!span) { $("tip").hidden = true; return; }
  const pos = Number(span.dataset.p), t = tokenAt(pos, step), place = "position " + pos;
  if (t) {
    const origin = t.pass < 0 ? "part of the prompt" : decoding.confidence + " " + t.score + (t.edit ? ", changed by pass " : ", revealed by pass ") + (t.pass + 1) + " (" + passes[t.pass].kind + ")";
    const cut = pos >= trace.answer_end && pos >= prompt ? ["after the end of the answer"] : [];
    tip(event, quoted(t.text) || "token " + t.token, ["token " + t.token + ", " + place, origin, ...cut]);
    return;
  }
  const drawn = step > 0 && passes[step - 1].candidates.find(c => c.pos === pos);
  const next = states[pos][0];
  const later = next ? ["becomes " + (quoted(next.text) || next.token) + " in pass " + (next.pass + 1)] : ["is never revealed"];
  if (drawn) tip(event, "mask", [place, "pass " + step + " drew " + (quoted(drawn.text) || "") + " (token " + drawn.token + "), " + decoding.confidence + " " + drawn.score, ...later]);
  else tip(event, "mask", [place, ...later]);
}
canvas.addEventListener("pointerover", tokenTip);
canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
canvas.addEventListener("click", event => {
  const span = event.target.closest("[data-p]"), t = span && (tokenAt(span.dataset.p, step) || states[span.dataset.p][0]);
  if (t && t.pass >= 0) { pause(); go(t.pass + 1, false); }
});

/* ---- controls ---- */
let timer = 0;
const ICONS = { play: "M3 1v14l11-7z", pause: "M3 2h4v12H3zM9 2h4v12H9z" };
function icon(name) {
  $("icon").setAttribute("d", ICONS[name]);
  $("play").setAttribute("aria-label", name === "play" ? "Play" : "Pause");
}
function pause() { clearInterval(timer); timer = 0; icon("play"); }
function play() {
  if (timer) { pause(); return; }
  if (step === passes.length) go(0);
  icon("pause");
  // Slow enough to read a short run, and no run takes longer than half a minute.
  timer = setInterval(() => { go(step + 1); if (step === passes.length) pause(); }, Math.max(16, Math.min(350, 30000 / passes.length)));
}
const jump = to => { pause(); go(to); };
$("first").onclick = () => jump(0);
$("back").onclick = () => jump(step - 1);
$("next").onclick = () => jump(step + 1);
$("last").onclick = () => jump(passes.length);
$("play").onclick = play;
$("slider").oninput = event => jump(Number(event.target.value));
$("ghosts").onchange = () => go(step, false);
$("colour").onchange = event => {
  mode = event.target.value;
  legend();
  step = -1;
  go(Number($("slider").value), false);
};
$("fold").onchange = event => canvas.classList.toggle("fold", !event.target.checked);
addEventListener("keydown", event => {
  if (event.target.matches("select, input[type=checkbox], summary") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.matches("button")) return;
  const action = { ArrowLeft: () => jump(step - 1), ArrowRight: () => jump(step + 1), Home: () => jump(0), End: () => jump(passes.length), " ": play }[event.key];
  if (action) { event.preventDefault(); action(); }
});

/* ---- start ---- */
heading();
legend();
$("slider").max = passes.length;
$("fold-label").hidden = !folded;
canvas.append(...spans);
charts();
icon("play");
const wanted = /^#pass=(\d+)$/.exec(location.hash);
go(wanted ? Number(wanted[1]) : passes.length);
if (!wanted) canvas.scrollTop = 0;
state.state ??= "ready";
