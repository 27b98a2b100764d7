"use strict";

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

// A cell that a spreadsheet would take for a formula is made a text; a number stays a number.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.,]+(e[+-]?\d+)?$/i.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvOf(rows) {
  return rows.map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

// A blob is made here and never leaves: the page's policy allows no request, and needs none.
function download(name, rows) {
  const file = new Blob(["\ufeff", csvOf(rows)], { type: "text/csv;charset=utf-8" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")}.csv`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function plotRows(plot) {
  const rows = [[plot.x_title, "series", plot.unit, "low", "high", "x_low", "x_high"]];
  for (const series of plot.series) {
    for (const point of series.points) {
      const name = point.label || series.name;
      rows.push([point.x, name, point.y, point.low, point.high, point.x_low, point.x_high]);
    }
  }
  return rows;
}

function tableRows(table) {
  return [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/^−(?=[\d.,]+%?$)/, "-")));
}

function watchDownloads() {
  for (const button of document.querySelectorAll("[data-csv-plot]")) {
    button.addEventListener("click", () => {
      const plot = allPlots()[Number(button.dataset.csvPlot)];
      download(plot.title, plotRows(plot));
    });
  }
  for (const table of document.querySelectorAll("[data-csv-table]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    const name = table.dataset.csvTable;
    const hidden = document.createElement("span");
    hidden.className = "hidden";
    hidden.textContent = ` of ${name}`;
    button.append(hidden);
    button.addEventListener("click", () => download(name, tableRows(table)));
    table.parentElement.after(button);
  }
}

// On paper nothing can be opened, and each round's verdict belongs there.
function openForPaper() {
  for (const closed of document.querySelectorAll("#rounds > details")) closed.open = true;
}
