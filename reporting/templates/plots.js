// Colours are CSS variables, so that the plots follow the page into the dark and onto paper.
const COLOURS = Array.from({ length: 12 }, (_, place) => `var(--s${place + 1})`);
const MANY = 20; // rounds beyond which marks get smaller and not each gets its label
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
    series.points.map((point, place) => ({ ...point, series: series.name, at: place })));
}

function hasIntervals(plot) {
  return rowsOf(plot).some((row) => row.low !== null && row.high !== null);
}

function named(plot) {
  return plot.x_title !== "round";
}

// Rounds by number behind the base; names of anything else as they come.
function places(plot) {
  const present = [...new Set(rowsOf(plot).map((row) => row.x))];
  if (named(plot)) return present;
  const rounds = present.filter((x) => x !== "base");
  rounds.sort((a, b) => a - b);
  return present.includes("base") ? ["base", ...rounds] : rounds;
}

// As many columns as fit beside each other: a name that runs over the card cannot be read.
function legendFit(names) {
  const widths = names.map((name) => 6.2 * name.length + 28);
  const widest = (columns, at) => Math.max(0, ...widths.filter((_, place) => place % columns === at));
  const whole = (columns) => [0, 1, 2].slice(0, columns).reduce((sum, at) => sum + widest(columns, at), 0);
  const columns = [3, 2].find((count) => whole(count) <= room - 50) ?? 1;
  return { columns, labelLimit: Math.min(320, room - 90) };
}

function shared(plot) {
  const names = plot.series.map((series) => series.name);
  return {
    x: {
      field: "x", type: "ordinal", sort: places(plot),
      axis: named(plot)
        ? { title: null, labelAngle: -30, grid: false }
        : { title: plot.x_title, labelAngle: 0, grid: false, labelOverlap: true },
    },
    color: {
      field: "series", type: "nominal", sort: names,
      scale: { domain: names, range: plot.series.map((series, place) => COLOURS[(series.colour ?? place) % COLOURS.length]) },
      legend: names.length > 1 ? { title: null, orient: "top", ...legendFit(names) } : null,
    },
  };
}

function tooltip(plot) {
  const fields = [{ field: "x", title: plot.x_title }];
  if (plot.series.length > 1) fields.push({ field: "series", title: "series" });
  fields.push({ field: "y", title: plot.unit, format: plot.form });
  return hasIntervals(plot) ? [...fields, ...ends(plot)] : fields;
}

function ends(plot) {
  return [["low", "from"], ["high", "to"]].map(([field, title]) => ({ field, title, format: plot.form }));
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
  // Six digits at most, said so: left to itself the axis may write 0.12 as 0.1.
  const format = plot.form.endsWith("%") ? ".1~%" : ",.6~r";
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
  const many = places(plot).length > MANY; // so many bars would hide the line between them
  const bands = [
    { transform: bounded, mark: { type: "area" }, encoding: { ...interval, opacity: fade(0.16, 0.03) } },
  ];
  if (!many) {
    bands.push({ transform: bounded, mark: { type: "rule", strokeWidth: 1.5 }, encoding: { ...interval, opacity: fade(0.8, 0.1) } });
  }
  const layers = [
    ...(hasIntervals(plot) ? bands : []),
    { mark: { type: "line", strokeWidth: 2.2 }, encoding: { x, y, color, opacity: fade(1, 0.15) } },
    {
      params: [pick()],
      mark: { type: "point", filled: true, size: many ? 18 : 70 },
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

function measuredAxis(plot, field) {
  return {
    field, type: "quantitative", title: plot.x_title,
    scale: { zero: plot.mark === "path", nice: plot.mark === "path" }, axis: { tickCount: 6, grid: false },
  };
}

function measuredTooltip(plot) {
  const of = plot.series.length > 1 ? [{ field: "series", title: "series" }] : [];
  return [
    ...of,
    { field: "label", title: "of" },
    { field: "x", title: plot.x_title, format: plot.x_form },
    { field: "y", title: plot.unit, format: plot.form },
    ...(hasIntervals(plot) ? ends(plot) : []),
  ];
}

// Values over something that is measured itself, each with its name and with bars both ways.
function pathLayers(plot) {
  const [x, y] = [measuredAxis(plot, "x"), valueAxis(plot, "y")];
  const colour = "var(--s1)";
  const many = rowsOf(plot).length > MANY;
  const named = many ? "datum.at % 5 === 0" : "true";
  const bar = { type: "rule", strokeWidth: 1.2, color: colour, opacity: many ? 0.25 : 0.5 };
  const order = { field: "at", type: "quantitative" };
  // Several series are told apart by colour, which then stands before that of the marks.
  const paint = plot.series.length > 1 ? { color: shared(plot).color } : {};
  const upright = {
    transform: [{ filter: "isValid(datum.low) && isValid(datum.high)" }], mark: bar,
    encoding: { x, y: valueAxis(plot, "low"), y2: { field: "high" }, ...paint },
  };
  const across = {
    transform: [{ filter: "isValid(datum.x_low) && isValid(datum.x_high)" }], mark: bar,
    encoding: { x: measuredAxis(plot, "x_low"), x2: { field: "x_high" }, y, ...paint },
  };
  return [ // a layer without a value makes Vega complain
    ...(hasIntervals(plot) ? [upright] : []),
    ...(rowsOf(plot).some((row) => row.x_low !== null && row.x_high !== null) ? [across] : []),
    { mark: { type: "line", strokeWidth: 1.2, color: colour, opacity: 0.6 }, encoding: { x, y, order, ...paint } },
    {
      mark: { type: "point", filled: true, size: many ? 22 : 80, color: colour, opacity: 1 },
      encoding: { x, y, tooltip: measuredTooltip(plot), ...paint },
    },
    {
      transform: [{ filter: named }, { calculate: "replace(datum.label, 'round ', '')", as: "short" }],
      mark: { type: "text", align: "left", dx: 6, dy: -9, fontSize: 12, fontWeight: 600, color: "var(--ink)" },
      encoding: { x, y, text: { field: "short" } },
    },
  ];
}

// Stretches one behind the other, such as the steps of each round.
function curveLayers(plot) {
  const [x, y] = [measuredAxis(plot, "x"), valueAxis(plot, "y")];
  const colour = "var(--s1)";
  const band = {
    transform: [{ filter: "isValid(datum.low) && isValid(datum.high)" }],
    mark: { type: "area", color: colour, opacity: 0.16 },
    encoding: { x, y: valueAxis(plot, "low"), y2: { field: "high" }, detail: { field: "series" } },
  };
  return [
    ...(hasIntervals(plot) ? [band] : []),
    {
      mark: { type: "line", strokeWidth: rowsOf(plot).length > 200 ? 0.9 : 1.6, color: colour },
      encoding: { x, y, detail: { field: "series" }, order: { field: "at", type: "quantitative" } },
    },
    {
      mark: { type: "point", filled: true, size: rowsOf(plot).length > 200 ? 3 : 10, color: colour, opacity: 1 },
      encoding: { x, y, tooltip: measuredTooltip(plot) },
    },
  ];
}

const LAYERS = { line: lineLayers, bar: barLayers, path: pathLayers, curve: curveLayers };

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
    layer: LAYERS[plot.mark](plot),
    config: LOOK,
  };
}

let room = 400; // pixels that the plot being drawn has in width
let parsedPlots = null;

function allPlots() {
  parsedPlots ??= JSON.parse(document.getElementById("plots-data").textContent);
  return parsedPlots;
}

async function drawPlot(place) {
  if ("drawn" in place.dataset) return;
  place.dataset.drawn = "";
  const plot = allPlots()[Number(place.dataset.plot)];
  room = place.clientWidth || room;
  // `ast` interprets expressions: the page's policy does not allow code made at run time.
  await vegaEmbed(place, specification(plot), { renderer: "svg", actions: false, ast: true });
}

// What is on the screen first; the rest one by one, so that the page answers meanwhile.
async function drawPlots() {
  const all = [...document.querySelectorAll("[data-plot]")];
  for (const place of all) {
    if (place.getBoundingClientRect().top < 2 * innerHeight) await drawPlot(place);
  }
  document.body.dataset.ready = "";
  for (const place of all) {
    await new Promise((resume) => setTimeout(resume));
    await drawPlot(place);
  }
}
