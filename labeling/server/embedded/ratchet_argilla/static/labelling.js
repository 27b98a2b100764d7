// Keys go on working after a look at the guidelines, which open at the first visit and by the key G;
// Page Down and Page Up scroll both answers; how long the rest will take; and the way to the campaign's
// page, which knows what comes next, once nothing is left. Nothing depends on the pages' language.
"use strict";

(() => {
  const VISITED = "ratchet-guidelines-read";
  const PACE = 20; // submissions that the estimate looks back on
  const SETTLED_MS = 600; // that a page without questions lasts before it counts as such
  const CLOSED_LOOK_MS = 30000;
  const LOOK_AGAIN_MS = 15000;
  const FOLDED = matchMedia("(pointer: coarse)").matches ? "goes on below" : "goes on below: Page Down";
  const times = [];

  const dataset = () => location.pathname.match(/^\/dataset\/([^/]+)\/annotation-mode/)?.[1];
  // Of the three panels, the one at the right is the progress; of the others one is shown.
  const guidelines = () =>
    [...document.querySelectorAll("button.panel__header")].find(
      (button) => button.offsetParent !== null && !button.closest(".wrapper__right"));
  const isOpen = (button) => !button.closest(".panel").classList.contains("--collapsed");
  const isTyping = () => {
    const active = document.activeElement;
    return active.isContentEditable || active.matches("textarea, input:not([type=radio]):not([type=checkbox])");
  };
  // Opens or closes them. Where they stand below the questions, the page goes there, and back.
  const turn = (button, settled = 0) => {
    button.click();
    setTimeout(() => {
      focusQuestion();
      const panel = button.closest(".panel.--mobile");
      if (panel && isOpen(button)) panel.scrollIntoView({ block: "end" });
      else if (panel) panel.parentElement.scrollTo({ top: 0 });
    }, settled);
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

  const areas = () => [...document.querySelectorAll(".record__content .content-area")];
  const keys = {
    g: () => {
      const button = guidelines();
      if (button) turn(button);
      return button !== undefined;
    },
    pagedown: () => scrollAnswers(0.85),
    pageup: () => scrollAnswers(-0.85),
  };
  const scrollAnswers = (share) => {
    const folded = areas().slice(-2).filter((area) => area.scrollHeight > area.clientHeight + 1);
    for (const area of folded) area.scrollBy({ top: share * area.clientHeight });
    return folded.length > 0;
  };
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || isTyping() || !dataset()) return;
    if (act()) event.preventDefault();
  }, true);

  const openOnce = () => {
    const button = guidelines();
    if (!dataset() || !button || !document.querySelector(".questions-form")) return;
    const read = (localStorage.getItem(VISITED) ?? "").split(" ");
    if (read.includes(dataset())) return;
    localStorage.setItem(VISITED, [...read, dataset()].slice(-200).join(" ").trim());
    if (!isOpen(button)) turn(button, 300);
    else setTimeout(focusQuestion, 300);
  };

  let before = null;
  const showTimeLeft = () => {
    const info = document.querySelector(".pagination__info");
    const count = Number(document.querySelector(".status-counter__counter")?.textContent);
    if (!info || !Number.isFinite(count)) return;
    if (before !== null && count > before) times.push(Date.now());
    before = count;
    const recent = times.slice(-PACE);
    const [at, all] = (info.textContent.match(/\d+/g) ?? []).map(Number);
    const left = all - at + 1;
    if (recent.length < 4 || !(left > 0)) return;
    const each = (recent.at(-1) - recent[0]) / (recent.length - 1);
    const minutes = Math.max(1, Math.round((each * left) / 60000));
    say(info, "ratchet-left", `about ${minutes} ${minutes === 1 ? "minute" : "minutes"}`);
  };
  // A line of ours after an element of Argilla's, or at its end.
  const say = (place, name, text, inside = false) => {
    let line = place.querySelector(`.${name}`) ?? place.parentElement.querySelector(`.${name}`);
    if (!line) {
      line = document.createElement("span");
      line.className = name;
      inside ? place.append(line) : place.after(line);
    }
    if (line.textContent !== text) line.textContent = text;
  };

  const observed = new WeakSet();
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => markFolded(entry.target)));
  const markFolded = (target) => {
    const area = target.closest(".content-area");
    if (!area) return;
    const below = area.scrollHeight - area.clientHeight - area.scrollTop > 1;
    area.classList.toggle("ratchet-folded", below);
    const title = area.parentElement.querySelector(".text_field_component__title-content");
    if (title) say(title, "ratchet-folded-note", below ? FOLDED : "", true);
  };
  const watchAnswers = () => {
    for (const area of areas()) {
      const inside = [area, ...area.children].filter((each) => !observed.has(each));
      for (const each of inside) {
        observed.add(each);
        sizes.observe(each);
      }
      if (inside.includes(area)) area.addEventListener("scroll", () => markFolded(area), { passive: true });
    }
  };

  const api = async (path, body) => {
    const response = await fetch(`/api/v1/${path}`, {
      method: body ? "POST" : "GET",
      headers: { Authorization: localStorage.getItem("auth._token.local") ?? "", "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(response.status);
    return response.json();
  };
  const asksForPending = () => {
    const status = new URLSearchParams(location.search).get("status");
    return dataset() !== undefined && (status === null || status === "pending");
  };
  const campaignOf = async (id) => (await api(`datasets/${id}`)).metadata?.ratchet;
  const isWith = (entity) => ({ type: "terms", scope: { entity, property: "status" }, values: ["pending"] });
  const leaveWhenDone = async () => {
    const id = dataset();
    if (!asksForPending() || document.querySelector(".record__content")) return;
    const about = await campaignOf(id);
    if (!about) return;
    const filters = { type: "and", and: [isWith("response"), isWith("record")] };
    const { total } = await api(`me/datasets/${id}/records/search?limit=1`, { filters });
    if (total === 0 && id === dataset() && asksForPending()) location.assign(`/campaign/${about.id}`);
  };
  let settling = null;
  const lookForTheEnd = () => {
    if (settling !== null || !asksForPending() || document.querySelector(".record__content")) return;
    settling = setTimeout(() => {
      leaveWhenDone().catch(() => {}).finally(() => {
        settling = null;
        setTimeout(lookForTheEnd, LOOK_AGAIN_MS);
      });
    }, SETTLED_MS);
  };
  const lookWhetherClosed = async () => {
    if (!asksForPending() || document.hidden) return;
    const about = await campaignOf(dataset());
    if (!about?.closed || document.querySelector(".ratchet-closed")) return;
    const line = document.createElement("p");
    line.className = "ratchet-closed";
    line.setAttribute("role", "status");
    const link = document.createElement("a");
    link.href = `/campaign/${about.id}`;
    link.textContent = "What comes next";
    line.append("This round has the answers that it needs: later ones may not count. ", link);
    document.body.append(line);
  };
  setInterval(() => { lookWhetherClosed().catch(() => {}); }, CLOSED_LOOK_MS);

  new MutationObserver(() => {
    // Argilla's own router knows no such page; the server does.
    if (location.pathname.startsWith("/campaign/")) return location.reload();
    openOnce();
    showTimeLeft();
    watchAnswers();
    lookForTheEnd();
    if (!dataset()) document.querySelector(".ratchet-closed")?.remove();
  }).observe(document, { childList: true, subtree: true, characterData: true });
})();
