"use strict";
(function () { // the figure that plays, and terms that explain themselves
  const page = window.mechxlPage, at = (id) => document.getElementById(id), button = at("play"), said = at("playing");
  const still = matchMedia("(prefers-reduced-motion: reduce)"), GLIDE = 0.6; // share of a step's time that the dots move
  const found = document.querySelector("script.rates"), rates = found ? JSON.parse(found.textContent) : null;
  let timer = null;
  function tell() {
    const place = rates ? rates.steps.indexOf(page.step()) : -1;
    const shares = place < 0 ? [] : ["recall", "transfer"].map((kind) => `${kind} ${rates[kind][place] === null ? "not defined" : `${rates[kind][place]} %`}`);
    const text = `Step ${page.step().toLocaleString("en")}${shares.length ? `: ${shares.join(", ")}` : ""}`;
    if (said.textContent !== text) said.textContent = text;
  }
  function stop() {
    clearTimeout(timer);
    timer = null;
    page.glide = 0;
    button.textContent = "▶ play";
    button.setAttribute("aria-pressed", "false");
    said.setAttribute("aria-live", "polite");
  }
  const by = (places) => page.choose(page.steps[Math.min(page.steps.length - 1, Math.max(0, page.steps.indexOf(page.step()) + places))]);
  function next() {
    const wait = Number(at("speed").value) * (still.matches ? 2 : 1); // without motion, time to look at each picture
    page.glide = still.matches ? 0 : wait * GLIDE;
    by(1);
    timer = page.step() === page.steps[page.steps.length - 1] ? (setTimeout(stop, wait), null) : setTimeout(next, wait);
    if (timer === null) { button.textContent = "▶ play"; button.setAttribute("aria-pressed", "false"); }
  }
  if (button && page.steps.length) {
    button.addEventListener("click", function () {
      if (timer !== null) return stop();
      said.setAttribute("aria-live", "off"); // a screen reader hears where it stops, not each step
      button.textContent = "❚❚ pause";
      button.setAttribute("aria-pressed", "true");
      if (page.step() === page.steps[page.steps.length - 1]) page.choose(page.steps[0]);
      timer = setTimeout(next, still.matches ? 0 : 300);
    });
    at("back").addEventListener("click", () => { stop(); by(-1); });
    at("forward").addEventListener("click", () => { stop(); by(1); });
    document.addEventListener("mechxl-step", tell);
    tell();
  }

  // ---- terms: on hover, focus and tap
  const tip = at("tip");
  let shownFor = null;
  function hide() { tip.hidden = true; shownFor = null; }
  function show(term) {
    tip.textContent = at(term.getAttribute("aria-describedby")).textContent;
    tip.hidden = false;
    shownFor = term;
    const box = term.getBoundingClientRect(), width = tip.offsetWidth, below = box.bottom + tip.offsetHeight + 12 < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8)) + scrollX}px`;
    tip.style.top = `${(below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + scrollY}px`;
  }
  document.querySelectorAll(".term").forEach(function (term) {
    term.addEventListener("mouseenter", () => show(term));
    term.addEventListener("mouseleave", () => { if (document.activeElement !== term) hide(); });
    term.addEventListener("focus", () => show(term));
    term.addEventListener("blur", hide);
    term.addEventListener("click", (event) => { event.preventDefault(); show(term); });
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && shownFor) hide(); });
})();
