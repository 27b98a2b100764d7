// Says that a command runs, tells htmx when a campaign has changed, and keeps ticked boxes and open parts over a refresh.
"use strict";

document.addEventListener("htmx:beforeRequest", (event) => {
  const target = event.detail.target;
  if (target.getAttribute("role") === "status") target.innerHTML = "<p class=outcome>The command runs …</p>";
});

document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("[data-changes]");
  if (!place) return;
  const source = new EventSource(place.dataset.changes);
  source.addEventListener("changed", () => htmx.trigger(document.body, "changed"));
  addEventListener("pagehide", () => source.close());

  let ticked = [];
  let focused = null;
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== place) return;
    ticked = [...place.querySelectorAll("input:checked")].map((box) => box.value);
    const active = document.activeElement;
    focused = place.contains(active) ? { value: active.value, href: active.getAttribute("href") } : null;
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== place) return;
    for (const box of place.querySelectorAll("input[type=checkbox]")) box.checked = ticked.includes(box.value);
    if (!focused) return;
    const same = [...place.querySelectorAll("a, input, button")].find((one) =>
      focused.href ? one.getAttribute("href") === focused.href : focused.value && one.value === focused.value);
    if (same) same.focus({ preventScroll: true });
  });
});
