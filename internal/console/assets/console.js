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
