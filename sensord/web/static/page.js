// Draws the curves that a page brings, keeps pages fresh, and answers keys. Nothing here is needed to read a page.
"use strict";

(() => {
  const HEIGHT = 132;
  let drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function axis() {
    const ink = colour("--muted"), line = colour("--line");
    return { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui, sans-serif" };
  }

  function shaded(spans) {
    return (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.fillStyle = colour("--shade");
      for (const span of spans) {
        const from = Math.max(plot.valToPos(span.since, "x", true), bbox.left);
        const to = Math.min(span.until === null ? Infinity : plot.valToPos(span.until, "x", true), bbox.left + bbox.width);
        if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
      }
      ctx.restore();
    };
  }

  function told(channel, at) {
    const known = channel.observed.filter((value) => value !== null);
    if (!known.length) return channel.name + ": nothing";
    const low = Math.min(...known), high = Math.max(...known), last = channel.observed[at.length - 1];
    const short = (value) => (value === null ? "nothing" : Number(value.toPrecision(4)));
    return `${channel.name}: between ${short(low)} and ${short(high)} ${channel.unit}, last ${short(last)}`;
  }

  // A limit that is far off would press the curve flat.
  function near(limit, values) {
    const known = values.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known), room = 5 * (high - low || Math.abs(high) || 1);
    return limit > low - room && limit < high + room;
  }

  function frame(channel) {
    const holder = document.createElement("div"), title = document.createElement("h3");
    holder.className = "chart";
    title.textContent = channel.unit ? `${channel.name}, ${channel.unit}` : channel.name;
    holder.append(title);
    return holder;
  }

  function picture(holder, curves, channel) {
    const series = [{}, { label: "observed", stroke: colour("--observed"), width: 2, spanGaps: false, points: { size: 4 } }];
    const data = [curves.at, channel.observed];
    if (channel.expected.length) {
      series.push({ label: "expected", stroke: colour("--expected"), width: 1.5, dash: [5, 4], points: { show: false } });
      data.push(channel.expected);
    }
    for (const limit of channel.limits.filter((each) => near(each, channel.observed))) {
      series.push({ label: "limit", stroke: colour("--limit"), width: 1.5, dash: [2, 3], points: { show: false } });
      data.push(curves.at.map(() => limit));
    }
    const plot = new uPlot({
      width: Math.max(holder.clientWidth, 200), height: HEIGHT, series,
      axes: [{ ...axis(), space: 70, values: (_, splits) => splits.map((each) => clock(each).slice(11)) }, { ...axis(), size: 54 }],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false }, cursor: { y: false, points: { size: 6 } }, hooks: { drawClear: [shaded(curves.spans)] },
    }, data, holder);
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", told(channel, curves.at));
    drawn.push({ plot, holder });
  }

  function draw() {
    for (const { plot } of drawn) plot.destroy();
    drawn = [];
    const source = document.getElementById("curves"), box = document.querySelector(".charts");
    if (source && box && window.uPlot) {
      const curves = JSON.parse(source.textContent), holders = curves.channels.map(frame);
      box.replaceChildren(...holders); // all of them first: what a picture may take depends on its neighbours
      curves.channels.forEach((channel, place) => picture(holders[place], curves, channel));
    }
    for (const cell of document.querySelectorAll("td.second")) cell.textContent = clock(Number(cell.dataset.second));
  }

  // --- fresh ---------------------------------------------------------------------------------------------------------

  const main = () => document.getElementById("content");

  function busy() {
    const focus = document.activeElement;
    const writes = focus && main().contains(focus) && focus.matches("input, select, textarea, button");
    const filled = [...main().querySelectorAll("input:not([type=hidden]), textarea")].some((each) => each.value !== each.defaultValue || each.checked !== each.defaultChecked);
    const opened = main().querySelector("details[open]");
    return writes || filled || opened || document.hidden;
  }

  function stale(is) {
    let note = document.querySelector(".stale");
    if (is && !note) {
      note = document.createElement("p");
      note.className = "card stale warning";
      note.setAttribute("role", "status");
      main().prepend(note);
    }
    if (is) note.textContent = "This page could not be brought up to date; it is tried again.";
    else if (note) note.remove();
  }

  async function refresh() {
    const every = Number(main().dataset.refresh || 0);
    if (!every) return;
    if (!busy()) {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) throw new Error(answer.status);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (!busy()) {
          const place = document.activeElement && document.activeElement.getAttribute("href");
          main().replaceChildren(...page.getElementById("content").childNodes);
          document.querySelector("footer").replaceWith(page.querySelector("footer"));
          draw();
          if (place) [...document.querySelectorAll("a")].find((each) => each.getAttribute("href") === place)?.focus({ preventScroll: true });
        }
        stale(false);
      } catch {
        stale(true);
      }
    }
    setTimeout(refresh, every * 1000);
  }

  // --- keys ----------------------------------------------------------------------------------------------------------

  function move(step) {
    const rows = [...document.querySelectorAll("a.row")];
    if (!rows.length) return;
    const here = rows.indexOf(document.activeElement);
    const next = rows[here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + step, 0), rows.length - 1)];
    next.focus();
    for (const row of document.querySelectorAll("tr.here")) row.classList.remove("here");
    next.closest("tr")?.classList.add("here");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    }
  });

  let resized;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => { for (const { plot, holder } of drawn) plot.setSize({ width: Math.max(holder.clientWidth, 200), height: HEIGHT }); }, 100);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  draw();
  const every = Number(main().dataset.refresh || 0);
  if (every) setTimeout(refresh, every * 1000);
})();
