
// The sample browser. A row is {p: prompt, k: kind, t: tags, f: forgotten, i: id, a: answers}, an
// answer [round, name, text, score, reason, truncated, [[source, verdict, reason, person], …]].
const PAGE = 25;
const CLIP = 800;
const [ROUND, NAME, TEXT, SCORE, REASON, TRUNCATED, SAID] = [0, 1, 2, 3, 4, 5, 6];

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Texts never become markup. Long words may break: browsers take seconds over 100 kB of one.
function breakable(text) {
  const fragment = document.createDocumentFragment();
  let rest = text;
  for (const found of text.matchAll(/\S{100}(?=\S{100})/g)) {
    const end = found.index + found[0].length - (text.length - rest.length);
    fragment.append(rest.slice(0, end), document.createElement("wbr"));
    rest = rest.slice(end);
  }
  fragment.append(rest);
  return fragment;
}

function shownText(text) {
  const fragment = document.createDocumentFragment();
  const place = made("div", "text");
  place.dir = "auto";
  fragment.append(place);
  if (text.length <= CLIP + 200) {
    place.append(breakable(text));
    return fragment;
  }
  const rest = made("span", "rest");
  rest.hidden = true;
  rest.append(breakable(text.slice(CLIP)));
  place.append(breakable(text.slice(0, CLIP)), rest);
  const count = text.length.toLocaleString("en");
  const button = made("button", "more", `Show all ${count} characters`);
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.dataset.characters = text.length;
  fragment.append(button);
  return fragment;
}

function signed(value) {
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Number(Math.abs(value).toPrecision(4))}`;
}

function scoreOf(row, round) {
  const answer = row.a.find((one) => one[ROUND] === round);
  return answer ? answer[SCORE] : null;
}

function verdictIn(row, round) {
  const answer = row.a.find((one) => one[ROUND] === round);
  const said = answer?.[SAID].find((one) => one[1].endsWith("against base"));
  return !said ? null : said[1].startsWith("won") ? 0.5 : said[1].startsWith("lost") ? -0.5 : null;
}

// How much better one round answers than another; where no judge scores, who won against the base.
function gainOf(row, from, to) {
  if (row.k !== "held-out") return row.a[0]?.[SCORE] === null ? null : Math.abs(row.a[0]?.[SCORE] - row.a[1]?.[SCORE]);
  const [before, after] = [scoreOf(row, from), scoreOf(row, to)];
  if (before !== null && after !== null) return after - before;
  return from === 0 ? verdictIn(row, to) : null;
}

const KINDS = {
  "held-out": (row) => row.k === "held-out",
  training: (row) => row.k === "training",
  people: (row) => row.a.some((answer) => answer[SAID].some((said) => said[3])),
  forgotten: (row) => row.f === 1,
  truncated: (row) => row.a.some((answer) => answer[TRUNCATED]),
  "": () => true,
};

const ORDERS = {
  change: (gain) => -Math.abs(gain),
  gain: (gain) => -gain,
  loss: (gain) => gain,
};

// The base, and below it the newest first: what is compared most stands together.
function inOrder(row) {
  return row.k === "held-out" ? [row.a[0], ...row.a.slice(1).reverse()].filter(Boolean) : row.a;
}

class Samples {
  constructor(rows) {
    this.rows = rows;
    this.words = null;
    this.found = [];
    this.first = 0;
    this.chosen = null;
    this.element = (id) => document.getElementById(id);
  }

  rounds() {
    const held = this.rows.filter(KINDS["held-out"]);
    return [...new Set(held.flatMap((row) => row.a.map((answer) => answer[ROUND])))].sort((a, b) => a - b);
  }

  fillRounds() {
    const rounds = this.rounds();
    for (const id of ["from", "to"]) {
      this.element(id).append(...rounds.map((round) => new Option(round ? `round ${round}` : "base", round)));
    }
    if (rounds.length) this.element("to").value = rounds.at(-1);
  }

  // Made when first searched for: all texts once more, in small letters.
  wordsOf(index) {
    this.words ??= this.rows.map((row) => [row.p, row.i, ...row.t, ...row.a.flatMap((answer) =>
      [answer[TEXT], answer[REASON], ...answer[SAID].flatMap((said) => said.slice(0, 3))])]
      .join("\n").toLowerCase());
    return this.words[index];
  }

  find() {
    const wanted = this.element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = KINDS[this.element("kind").value];
    const [from, to] = ["from", "to"].map((id) => Number(this.element(id).value));
    const order = ORDERS[this.element("order").value];
    this.found = [];
    this.rows.forEach((row, index) => {
      if (fits(row) && wanted.every((word) => this.wordsOf(index).includes(word))) {
        this.found.push({ row, gain: gainOf(row, from, to) });
      }
    });
    if (order) {
      const key = ({ gain }) => (gain === null ? Infinity : order(gain));
      this.found = this.found.map((one) => [key(one), one])
        .sort((a, b) => (a[0] === b[0] ? 0 : a[0] - b[0])).map(([, one]) => one);
    }
    this.first = 0;
  }

  show() {
    const shown = this.found.slice(this.first, this.first + PAGE);
    const last = this.first + shown.length;
    const total = this.found.length;
    this.element("shown").textContent = total
      ? `${(this.first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${total.toLocaleString("en")}`
      : "Nothing matches.";
    this.element("back").disabled = this.first === 0;
    this.element("next").disabled = last >= total;
    this.element("prompts").start = this.first + 1;
    this.element("prompts").replaceChildren(...shown.map((one) => this.entry(one)));
    this.element("sample").hidden = total === 0;
    if (shown.length) this.choose(shown[0].row, this.element("prompts").querySelector("button"));
  }

  entry({ row, gain }) {
    const item = made("li");
    const button = made("button", "entry");
    button.type = "button";
    const words = row.p.replace(/\s+/g, " ").slice(0, 140) || "(empty prompt)";
    const start = made("span", "start", words);
    start.dir = "auto";
    button.append(start);
    if (gain !== null) {
      const word = row.k === "training" ? "" : gain > 0 ? "good" : gain < 0 ? "bad" : "";
      const badge = made("span", `badge ${word}`, row.k === "training" ? `Δ ${signed(gain).slice(1)}` : signed(gain));
      button.append(" ", badge);
    }
    button.addEventListener("click", () => this.choose(row, button));
    button.addEventListener("keydown", (event) => this.walk(event, item));
    item.append(button);
    return item;
  }

  walk(event, item) {
    const to = { ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling }[event.key];
    if (!to) return;
    event.preventDefault();
    to.querySelector("button").focus();
    to.querySelector("button").click();
  }

  choose(row, button) {
    this.element("prompts").querySelector("[aria-current]")?.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    const heading = made("h3", "", row.k === "training" ? "Training pair" : "Held-out prompt");
    heading.id = "h-sample";
    const about = made("p", "quiet", [row.i, ...row.t].filter(Boolean).join(" · "));
    const answers = made("ul", "answers");
    answers.append(...inOrder(row).map((answer) => this.answer(row, answer)));
    this.element("sample").replaceChildren(heading, about, shownText(row.p), answers);
  }

  answer(row, answer) {
    const item = made("li");
    const heading = made("h4", "", answer[NAME]);
    if (answer[SCORE] !== null) heading.append(" ", made("span", "score", `score ${Number(answer[SCORE].toPrecision(4))}`.replace("-", "−")));
    const before = answer !== row.a[0] && row.k === "held-out" ? row.a[0][SCORE] : null;
    if (answer[SCORE] !== null && before !== null) {
      const gain = answer[SCORE] - before;
      heading.append(" ", made("span", `badge ${gain > 0 ? "good" : gain < 0 ? "bad" : ""}`, `${signed(gain)} to ${row.a[0][NAME]}`));
    }
    if (answer[TRUNCATED]) heading.append(" ", made("span", "badge truncated", "truncated"));
    item.append(heading, shownText(answer[TEXT]));
    const said = answer[SAID].map(([source, verdict, reason, person]) =>
      `${person ? "person " : ""}${source}: ${verdict}${reason ? ` (${reason})` : ""}`);
    if (answer[REASON]) said.unshift(`score: ${answer[REASON]}`);
    if (said.length) {
      const list = made("ul", "judged");
      list.append(...said.map((one) => { const line = made("li"); line.append(breakable(one)); return line; }));
      item.append(list);
    }
    return item;
  }

  again() {
    this.find();
    this.show();
  }

  turn(by) {
    this.first = Math.max(0, this.first + by);
    this.show();
    this.element("prompts").querySelector("button")?.focus();
  }

  showLosses({ from, to }) {
    for (const [id, value] of [["kind", "held-out"], ["order", "loss"], ["from", from], ["to", to], ["filter", ""]]) {
      this.element(id).value = value;
    }
    this.again();
  }

  watch() {
    const tools = this.element("sample-tools");
    let waiting = 0;
    tools.addEventListener("submit", (event) => event.preventDefault());
    tools.addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.again(), event.target.id === "filter" ? 120 : 0);
    });
    for (const link of document.querySelectorAll('a[href="#samples"][data-from]')) {
      link.addEventListener("click", () => this.showLosses(link.dataset));
    }
    this.element("back").addEventListener("click", () => this.turn(-PAGE));
    this.element("next").addEventListener("click", () => this.turn(PAGE));
  }
}

async function showSamples() {
  const data = document.getElementById("samples-data");
  if (!data) return;
  try {
    const samples = new Samples(await unpacked(data.textContent));
    data.remove();
    samples.fillRounds();
    samples.watch();
    samples.element("browser").hidden = false;
    samples.again();
    document.getElementById("static").remove();
  } catch (error) {
    document.getElementById("shown").textContent =
      `This browser cannot unpack the samples (${error.message}); some are below.`;
  }
}
