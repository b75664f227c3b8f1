"use strict";
// A line of the ladder opens beside it. Without this file it is a page of its own.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.i");
  const detail = document.getElementById("detail");
  if (!link || !detail || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  document.querySelectorAll("a.i[aria-current]").forEach((a) => a.removeAttribute("aria-current"));
  link.setAttribute("aria-current", "true");
  htmx.ajax("GET", link.getAttribute("href"), { target: detail, swap: "innerHTML" }).then(() => {
    detail.classList.add("open");
    if (matchMedia("(max-width: 60rem)").matches) detail.scrollIntoView({ block: "start" });
  });
});
// Answers that are not 200 say in words what is wrong: they are shown like others.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status >= 400) { event.detail.shouldSwap = true; event.detail.isError = false; }
});

// Plots of outcomes, kept up to date while the page is open. The tables below say the same.
addEventListener("DOMContentLoaded", () => {
  const plots = document.querySelector(".plots[data-source]");
  if (!plots || !window.uPlot) return;
  const shade = (name) => { const e = document.createElement("i"); e.className = "shade " + name; plots.append(e); const c = getComputedStyle(e).color; e.remove(); return c; };
  const kinds = [["answered", "good"], ["busy", "odd"], ["no_answer", "accent"], ["rejected", "bad"], ["canceled", "soft"], ["failed", "ink"], ["unknown", "line"]];
  const two = (n) => String(n).padStart(2, "0");
  const clock = (s) => { const d = new Date(s * 1000); const hour = two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()); return hour === "00:00" ? two(d.getUTCMonth() + 1) + "-" + two(d.getUTCDate()) : hour; };
  const drawn = {};
  const draw = (id, data, series, unit) => {
    const at = document.getElementById(id);
    const axis = { stroke: shade("soft"), grid: { stroke: shade("line"), width: 1 }, ticks: { stroke: shade("line") } };
    if (drawn[id]) { drawn[id].setData(data); return; }
    drawn[id] = new uPlot({ width: at.clientWidth, height: 190, tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "UTC"), cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (u, low, high) => [0, Math.max(high || 0, 1) * 1.08] } },
      axes: [{ ...axis, values: (u, at) => at.map(clock) }, { ...axis, size: 48 }], series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series.map(([label, c]) => ({ label, stroke: shade(c), width: 2, points: { show: true, size: 6, fill: shade(c) }, spanGaps: true, value: (u, v) => v == null ? "–" : v.toFixed(unit) }))] }, data, at);
  };
  let last;
  const show = async () => {
    const answer = await fetch(plots.dataset.source, { credentials: "same-origin" });
    if (!answer.ok) return;
    last = await answer.json();
    plot(last);
    setTimeout(show, last.reading ? 1000 : 5000);
  };
  const plot = (r) => {
    const x = r.hours.map((h) => h.at);
    // count draws calls by hour and by a word of theirs. Another set of words is another plot.
    const count = (id, field, lines) => {
      if (drawn[id] && drawn[id].series.slice(1).map((s) => s.label).join() !== lines.map(([k]) => k).join()) { drawn[id].destroy(); delete drawn[id]; }
      draw(id, [x, ...lines.map(([k]) => r.hours.map((h) => (h[field] || {})[k] || 0))], lines, 0);
    };
    const seen = kinds.filter(([k]) => (r.all.outcomes || {})[k]);
    count("plot-outcomes", "outcomes", seen.length ? seen : [kinds[0]]);
    const causes = Object.entries(r.all.causes || {}).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([k]) => k);
    count("plot-causes", "causes", (causes.length ? causes : ["none"]).map((k, i) => [k, kinds[i % kinds.length][1]]));
    for (const [id, key, c] of [["plot-asr", "asr", "good"], ["plot-acd", "acd", "accent"], ["plot-delay", "delay", "odd"]]) draw(id, [x, r.hours.map((h) => h[key])], [[key === "delay" ? "delay" : key.toUpperCase(), c]], 1);
    const say = (id, v, unit) => { document.getElementById(id).textContent = v == null ? "–" : unit ? v.toFixed(1) + unit : String(v); };
    say("n-calls", r.all.calls); say("n-asr", r.all.asr, " %"); say("n-acd", r.all.acd, " s"); say("n-delay", r.all.delay, " s");
    const reading = document.getElementById("reading");
    reading.hidden = !r.reading; reading.querySelector("span").textContent = r.percent;
  };
  show();
  addEventListener("resize", () => Object.values(drawn).forEach((p) => p.setSize({ width: p.root.parentNode.clientWidth, height: 190 })));
  // Colors are drawn: when the page changes between light and dark, so must the plots.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const id of Object.keys(drawn)) { drawn[id].destroy(); delete drawn[id]; }
    if (last) plot(last);
  });
});
