"use strict";
// A line through all plots that reads them: by pointer, by touch, by arrow keys.
(() => {
  const plots = document.getElementById("plots");
  if (!plots) return;
  const count = Number(plots.dataset.count);
  const figures = [...plots.querySelectorAll("figure")].map((figure) => ({
    area: figure.querySelector(".area"),
    cursor: figure.querySelector(".cursor"),
    readout: figure.querySelector(".readout"),
    told: new Map([...figure.querySelectorAll("[data-bucket]")].map((hit) => [Number(hit.dataset.bucket), hit])),
  }));
  const bars = [...plots.querySelectorAll("[data-from]")];
  let at = -1;

  function read(bucket) {
    at = Math.max(0, Math.min(count - 1, bucket));
    plots.classList.add("reading");
    for (const { cursor, readout, told } of figures) {
      const x = `${(100 * (at + 0.5)) / count}%`;
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      readout.textContent = told.get(at)?.textContent ?? "nothing here";
    }
    for (const bar of bars) {
      const meets = Number(bar.dataset.from) < (at + 1) / count && Number(bar.dataset.to) >= at / count;
      bar.classList.toggle("on", meets);
    }
  }

  function leave() {
    at = -1;
    plots.classList.remove("reading");
    for (const { readout } of figures) readout.textContent = "";
  }

  for (const { area } of figures) {
    const point = (event) => {
      const box = area.getBoundingClientRect();
      read(Math.floor((count * (event.clientX - box.left)) / box.width));
    };
    area.addEventListener("pointermove", point);
    area.addEventListener("pointerdown", point);
    area.addEventListener("pointerleave", leave);
  }
  plots.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.target === plots) {
      read(at < 0 ? 0 : at + step);
      event.preventDefault();
    }
  });
  plots.addEventListener("blur", leave);
})();

// The command that replays the run, copied.
(() => {
  const button = document.getElementById("copy");
  const command = document.getElementById("replay");
  if (!button || !command) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
})();

// A link to a story opens it.
(() => {
  const open = () => {
    const told = location.hash && document.getElementById(location.hash.slice(1));
    if (told && told.matches("details")) told.open = true;
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => event.target.closest("a") && setTimeout(open));
  open();
})();
