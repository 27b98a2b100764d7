// The lasting address of a campaign: it leads to what is open now, and else says thanks and what comes next.
// What it knows is in the metadata of the campaign's datasets, and in Argilla's own counts.
"use strict";

(() => {
  const LOOK_AGAIN_MS = 20000;
  const queue = decodeURIComponent(location.pathname.split("/")[2] ?? "");
  const element = (id) => document.getElementById(id);
  const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  const token = () => localStorage.getItem("auth._token.local") ?? "";
  const signIn = () => {
    localStorage.removeItem("auth._token.local"); // or Argilla's page takes an old one for a session
    const known = JSON.parse(localStorage.getItem("argilla") ?? "{}");
    localStorage.setItem("argilla", JSON.stringify({ ...known, redirectTo: location.pathname }));
    location.assign("/sign-in");
  };
  const call = async (path, body) => {
    const response = await fetch(`/api/v1/${path}`, {
      method: body ? "POST" : "GET",
      headers: { Authorization: token(), "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (response.status === 401) throw new SignedOut();
    if (!response.ok) throw new Error(`the label server answered ${response.status}`);
    return response.json();
  };
  class SignedOut extends Error {}

  const datasetsOf = async () => {
    const { items } = await call("me/datasets");
    const ours = items.filter((one) => one.status === "ready" && one.metadata?.ratchet?.id === queue);
    const round = (one) => one.metadata.ratchet.round;
    return ours.sort((a, b) => round(a) - round(b) || (a.inserted_at < b.inserted_at ? -1 : 1));
  };
  const isWith = (entity, value) => ({ type: "terms", scope: { entity, property: "status" }, values: [value] });
  // As the labelling page asks: what others have completed is not pending for me.
  const pendingIn = async (dataset) => {
    const filters = { type: "and", and: [isWith("response", "pending"), isWith("record", "pending")] };
    return (await call(`me/datasets/${dataset.id}/records/search?limit=1`, { filters })).total;
  };
  const page = (dataset, status = "pending") => `/dataset/${dataset.id}/annotation-mode?page=1&status=${status}`;

  const between = (datasets) => {
    // From the end of a round's labelling to the next one's questions, the last time.
    const last = datasets.at(-1);
    const earlier = ({ closed, round }) => closed && round < last.metadata.ratchet.round;
    const before = datasets.filter((one) => earlier(one.metadata.ratchet)).at(-1);
    if (!before) return "";
    const minutes = (Date.parse(`${last.inserted_at}Z`) - Date.parse(before.metadata.ratchet.closed)) / 60000;
    if (!(minutes > 0)) return "";
    return ` Last time that took about ${minutes < 90 ? count(Math.max(1, Math.round(minutes)), "minute") : count(Math.round(minutes / 60), "hour")}.`;
  };

  const whatComes = (datasets, progress) => {
    const about = datasets.at(-1).metadata.ratchet;
    const { round, rounds } = about;
    if (about.over) return "The campaign has ended: nothing more will be asked.";
    const left = progress.total - progress.completed;
    const others = about.closed || left === 0 ? "" : `Of this round's ${count(progress.total, "pair")}, ${left.toLocaleString("en")} still ${left === 1 ? "waits" : "wait"} for others. `;
    if (round >= rounds) return `${others}This was the last of ${count(rounds, "round")}: nothing more will be asked.`;
    return `${others}Round ${round + 1} of ${rounds} will ask at this same address, once a new model has learnt from the answers.${between(datasets)} This page looks by itself: leave it open, or come back.`;
  };

  // What the owner shows of how I did, over all rounds.
  const agreementOf = async (datasets) => {
    const each = await Promise.all(datasets.map(async (one) => {
      const response = await fetch(`/ratchet/agreement/${one.id}`, { headers: { Authorization: token() } });
      return response.ok ? response.json() : null;
    }));
    const sum = (name) => each.reduce((all, one) => all + (one?.[name] ?? 0), 0);
    const rows = [];
    if (sum("gold")) rows.push(["right, where the answer is known", `${sum("gold_right")} of ${sum("gold")}`]);
    if (sum("repeats")) rows.push(["answered alike, where you were asked twice", `${sum("repeats_alike")} of ${sum("repeats")}`]);
    return rows;
  };

  const numbersOf = async (datasets) => {
    const each = await Promise.all(datasets.map((one) => call(`me/datasets/${one.id}/metrics`)));
    const given = each.map(({ responses }) => responses.submitted + responses.discarded);
    const last = each.at(-1).responses;
    const rows = [["answers of yours in this round", given.at(-1).toLocaleString("en")]];
    if (datasets.length > 1) rows.push(["in this campaign", given.reduce((a, b) => a + b, 0).toLocaleString("en")]);
    if (last.discarded) rows.push(["of this round's discarded", last.discarded.toLocaleString("en")]);
    rows.push(...(await agreementOf(datasets)));
    return { rows, last };
  };

  const link = (text, to, first) => {
    const made = document.createElement("a");
    made.textContent = text;
    made.href = to;
    if (first) made.className = "first";
    return made;
  };
  const show = ({ campaign = "", headline, rows = [], next = "", actions = [], who = [] }) => {
    element("campaign").textContent = campaign;
    if (element("headline").textContent !== headline) element("headline").textContent = headline;
    document.title = campaign ? `${headline} · ${campaign}` : headline;
    element("numbers").hidden = rows.length === 0;
    element("numbers").replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("div");
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      [dt.textContent, dd.textContent] = [name, value];
      row.append(dt, dd);
      return row;
    }));
    element("next").textContent = next;
    element("actions").replaceChildren(...actions);
    element("who").replaceChildren(...who);
    actions.find((one) => one.className === "first")?.focus();
  };

  let waited = false; // whether somebody reads this page, who should not be led on unasked
  const look = async () => {
    if (!token().startsWith("Bearer ")) return signIn();
    const [datasets, me] = await Promise.all([datasetsOf(), call("me")]);
    const other = link("Sign in as somebody else", "/sign-in");
    other.addEventListener("click", (event) => { event.preventDefault(); signIn(); });
    const who = [`Signed in as ${me.username}. `, other];
    if (datasets.length === 0) {
      show({
        headline: "Nothing is asked here yet",
        next: "This address belongs to no campaign that you can see. If it was given to you, the campaign may not have begun, or your account may not be in its workspace: ask who gave it to you.",
        who,
      });
      return;
    }
    const last = datasets.at(-1);
    const about = last.metadata.ratchet;
    const campaign = `${about.campaign}, round ${about.round} of ${about.rounds}`;
    const [pending, progress] = await Promise.all([about.closed ? 0 : pendingIn(last), call(`datasets/${last.id}/progress`)]);
    if (pending > 0 && !waited) return location.replace(page(last));
    if (pending > 0) {
      show({
        campaign,
        headline: `Round ${about.round} is ready: ${count(pending, "pair")} for you`,
        actions: [link("Go on", page(last), true)],
        who,
      });
      return;
    }
    const { rows, last: mine } = await numbersOf(datasets);
    const actions = [];
    if (mine.draft) actions.push(link(`${count(mine.draft, "draft")} of yours ${mine.draft === 1 ? "is" : "are"} not submitted`, page(last, "draft"), true));
    if (mine.submitted) actions.push(link("Look at your answers again", page(last, "submitted")));
    show({
      campaign,
      headline: mine.submitted + mine.discarded ? "Thank you! That was all for now." : "There is nothing for you to answer now.",
      rows,
      next: whatComes(datasets, progress),
      actions,
      who,
    });
  };

  const keepLooking = async () => {
    try {
      await look();
      waited = true;
    } catch (error) {
      if (error instanceof SignedOut) return signIn();
      element("next").textContent = `The label server does not answer (${error.message}). This page tries again by itself.`;
    }
    setTimeout(keepLooking, LOOK_AGAIN_MS);
  };
  keepLooking();
})();
