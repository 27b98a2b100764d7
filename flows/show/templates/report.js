"use strict";

// Colours are CSS variables, so that the plots follow the page into the dark and onto paper.
const COLOURS = [1, 2, 3, 4, 5, 6].map((number) => `var(--s${number})`);
const LOOK = {
  background: null,
  font: "system-ui, sans-serif", // Vega measures text with it, so it cannot be "inherit"
  view: { stroke: null },
  axis: {
    labelColor: "var(--quiet)", titleColor: "var(--quiet)", domainColor: "var(--line)",
    tickColor: "var(--line)", gridColor: "var(--grid)", labelFontSize: 12, titleFontSize: 12,
    titleFontWeight: "normal", labelFontWeight: "normal",
  },
  legend: { labelColor: "var(--ink)", labelFontSize: 12, symbolSize: 90, symbolOpacity: 1 },
};

function rowsOf(plot) {
  return plot.series.flatMap((series) =>
    series.points.map((point) => ({ ...point, series: series.name })));
}

function hasIntervals(plot) {
  return rowsOf(plot).some((row) => row.low !== null && row.high !== null);
}

function shared(plot) {
  const names = plot.series.map((series) => series.name);
  const present = new Set(rowsOf(plot).map((row) => row.x));
  const rounds = [...present].filter((x) => x !== "base").sort((a, b) => a - b);
  return {
    x: {
      field: "x", type: "ordinal", sort: present.has("base") ? ["base", ...rounds] : rounds,
      axis: { title: "round", labelAngle: 0, grid: false, labelOverlap: true },
    },
    color: {
      field: "series", type: "nominal", sort: names,
      scale: { domain: names, range: COLOURS.slice(0, names.length) },
      legend: names.length > 1 ? { title: null, orient: "top", columns: 4 } : null,
    },
  };
}

function tooltip(plot) {
  const fields = [{ field: "x", title: "round" }];
  if (plot.series.length > 1) fields.push({ field: "series", title: "series" });
  fields.push({ field: "y", title: plot.unit, format: plot.form });
  if (hasIntervals(plot)) {
    fields.push({ field: "low", title: "from", format: plot.form });
    fields.push({ field: "high", title: "to", format: plot.form });
  }
  return fields;
}

// Shares get an axis of at least ten points: on a shorter one noise looks like news.
function extent(plot) {
  const values = rowsOf(plot).flatMap((row) => [row.y, row.low ?? row.y, row.high ?? row.y]);
  if (plot.level !== null) values.push(plot.level);
  if (plot.from_zero) values.push(0);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (plot.form.endsWith("%") && high - low < 0.1) {
    low = Math.max(0, Math.min((low + high) / 2 - 0.05, 0.9));
    high = low + 0.1;
  }
  return [low, high];
}

function valueAxis(plot, field) {
  const format = plot.form.endsWith("%") ? ".1~%" : "~r";
  return {
    field, type: "quantitative", title: plot.unit,
    scale: { domain: extent(plot), zero: false, nice: true },
    axis: { format, tickCount: 5 },
  };
}

function fade(full, faded) {
  return { condition: { param: "picked", value: full }, value: faded };
}

function pick() {
  return { name: "picked", select: { type: "point", fields: ["series"] }, bind: "legend" };
}

function lineLayers(plot) {
  const { x, color } = shared(plot);
  const y = valueAxis(plot, "y");
  const interval = { x, color, y: valueAxis(plot, "low"), y2: { field: "high" } };
  const bounded = [{ filter: "isValid(datum.low) && isValid(datum.high)" }];
  const bands = [
    { transform: bounded, mark: { type: "area" }, encoding: { ...interval, opacity: fade(0.16, 0.03) } },
    { transform: bounded, mark: { type: "rule", strokeWidth: 1.5 }, encoding: { ...interval, opacity: fade(0.8, 0.1) } },
  ];
  const layers = [
    ...(hasIntervals(plot) ? bands : []),
    { mark: { type: "line", strokeWidth: 2.2 }, encoding: { x, y, color, opacity: fade(1, 0.15) } },
    {
      params: [pick()],
      mark: { type: "point", filled: true, size: 70 },
      encoding: { x, y, color, opacity: fade(1, 0.15), tooltip: tooltip(plot) },
    },
  ];
  return plot.level === null ? layers : [...levelLayers(plot), ...layers];
}

function levelLayers(plot) {
  const data = { values: [{ level: plot.level, name: plot.level_name }] };
  const y = valueAxis(plot, "level");
  return [
    { data, mark: { type: "rule", strokeDash: [5, 4], color: "var(--quiet)" }, encoding: { y } },
    {
      data, mark: { type: "text", align: "right", baseline: "bottom", dy: -3, fontSize: 12, color: "var(--quiet)" },
      encoding: { y, x: { value: "width" }, text: { field: "name" } },
    },
  ];
}

function barLayers(plot) {
  const { x, color } = shared(plot);
  const order = { field: "place", type: "quantitative" };
  const y = { ...valueAxis(plot, "y"), stack: "zero", scale: { zero: true } };
  return [{
    params: [pick()],
    mark: { type: "bar", width: { band: 0.6 } },
    encoding: { x, y, color, order, opacity: fade(1, 0.15), tooltip: tooltip(plot) },
  }];
}

function specification(plot) {
  const places = new Map(plot.series.map((series, place) => [series.name, place]));
  const values = rowsOf(plot).map((row) => ({ ...row, place: places.get(row.series) }));
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    description: plot.spoken,
    width: "container", height: "container",
    autosize: { type: "fit", contains: "padding" },
    data: { values },
    layer: plot.mark === "bar" ? barLayers(plot) : lineLayers(plot),
    config: LOOK,
  };
}

async function drawPlots() {
  const plots = JSON.parse(document.getElementById("plots-data").textContent);
  for (const place of document.querySelectorAll("[data-plot]")) {
    const plot = plots[Number(place.dataset.plot)];
    // `ast` interprets expressions: the page's policy does not allow code made at run time.
    await vegaEmbed(place, specification(plot), { renderer: "svg", actions: false, ast: true });
    place.dataset.drawn = "";
  }
}

function watchAnswers() {
  const tools = document.querySelector(".tools");
  if (!tools) return;
  const size = Number(tools.dataset.page);
  const element = (id) => document.getElementById(id);
  const rows = [...document.querySelectorAll("[data-row]")];
  const words = rows.map((row) => row.textContent.toLowerCase());
  let first = 0;

  function show() {
    const wanted = element("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const cut = element("only-truncated").checked;
    const found = rows.filter((row, index) =>
      wanted.every((word) => words[index].includes(word)) &&
      (!cut || row.querySelector("[data-truncated]")));
    if (first >= found.length) first = 0;
    const shown = new Set(found.slice(first, first + size));
    for (const row of rows) row.hidden = !shown.has(row);
    const last = Math.min(first + size, found.length);
    element("shown").textContent = found.length
      ? `${first + 1}–${last} of ${found.length} prompts` : "no prompt matches";
    element("back").disabled = first === 0;
    element("next").disabled = last >= found.length;
  }

  function turn(by) {
    first = Math.max(0, first + by);
    show();
    document.querySelector(".answers").scrollTop = 0;
  }

  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", () => { first = 0; show(); });
  element("back").addEventListener("click", () => turn(-size));
  element("next").addEventListener("click", () => turn(size));
  show();
}

function watchClipped() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".more");
    if (!button) return;
    const text = button.previousElementSibling;
    const rest = text.querySelector(".rest");
    rest.hidden = !rest.hidden;
    text.classList.toggle("open", !rest.hidden);
    button.setAttribute("aria-expanded", String(!rest.hidden));
    const count = Number(button.dataset.characters).toLocaleString("en");
    button.textContent = rest.hidden ? `Show all ${count} characters` : "Show less";
  });
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not a secure context, for instance plain HTTP from another machine: leave it to the reader.
    getSelection().selectAllChildren(document.getElementById("yaml"));
    return document.execCommand("copy");
  }
}

function watchCopy() {
  document.getElementById("copy")?.addEventListener("click", async () => {
    const done = await copied(document.getElementById("yaml").textContent);
    document.getElementById("copied").textContent = done ? "Copied." : "Selected: press Ctrl-C.";
  });
}

watchClipped();
watchAnswers();
watchCopy();
if (document.querySelector("[data-plot]")) {
  drawPlots().then(() => { document.body.dataset.ready = ""; });
}
