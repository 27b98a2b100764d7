// Keys go on working after a look at the guidelines, which open at the first visit and by the key G;
// and how long the rest will take.
"use strict";

(() => {
  const VISITED = "ratchet-guidelines-read";
  const PACE = 20; // submissions that the estimate looks back on
  const times = [];

  const guidelines = () =>
    [...document.querySelectorAll("button.panel__header")].find(
      (button) => button.offsetParent !== null && /guidelines/i.test(button.textContent));
  const isOpen = (button) => !button.closest(".panel").classList.contains("--collapsed");
  const isTyping = () => {
    const active = document.activeElement;
    return active.isContentEditable || active.matches("textarea, input:not([type=radio]):not([type=checkbox])");
  };
  const focusQuestion = () => {
    const question = document.querySelector(".questions-form input");
    if (question && !isTyping()) question.focus({ preventScroll: true });
  };

  // A button that keeps the focus would take Enter, and keys of answers with it.
  document.addEventListener("click", (event) => {
    if (event.isTrusted && event.detail > 0 && event.target.closest("button.panel__header, .pagination__button"))
      setTimeout(focusQuestion, 0);
  }, true);

  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "g" || event.ctrlKey || event.metaKey || event.altKey || isTyping()) return;
    const button = guidelines();
    if (!button) return;
    event.preventDefault();
    button.click();
    setTimeout(focusQuestion, 0);
  }, true);

  const openOnce = () => {
    const dataset = location.pathname.match(/^\/dataset\/([^/]+)\/annotation-mode/)?.[1];
    const button = guidelines();
    if (!dataset || !button || !document.querySelector(".questions-form")) return;
    const read = (localStorage.getItem(VISITED) ?? "").split(" ");
    if (read.includes(dataset)) return;
    localStorage.setItem(VISITED, [...read, dataset].slice(-200).join(" ").trim());
    if (!isOpen(button)) button.click();
    setTimeout(focusQuestion, 300);
  };

  let before = null;
  const showTimeLeft = () => {
    const info = document.querySelector(".pagination__info");
    const count = Number(document.querySelector(".status-counter__counter")?.textContent);
    if (!info || !Number.isFinite(count)) return;
    if (before !== null && count > before) times.push(Date.now());
    before = count;
    const recent = times.slice(-PACE);
    const [, at, all] = info.textContent.match(/(\d+)\s+of\s+(\d+)/) ?? [];
    const left = Number(all) - Number(at) + 1;
    if (recent.length < 4 || !(left > 0)) return;
    const each = (recent.at(-1) - recent[0]) / (recent.length - 1);
    const minutes = Math.max(1, Math.round((each * left) / 60000));
    const text = `about ${minutes} ${minutes === 1 ? "minute" : "minutes"}`;
    let line = info.parentElement.querySelector(".ratchet-left");
    if (!line) {
      line = document.createElement("span");
      line.className = "ratchet-left";
      info.after(line);
    }
    if (line.textContent !== text) line.textContent = text;
  };

  new MutationObserver(() => {
    openOnce();
    showTimeLeft();
  }).observe(document, { childList: true, subtree: true, characterData: true });
})();
