"use strict";
// Before printing every part is opened, and closed again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
// A link to a closed part, or to something in one, opens it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const part = target && target.closest("details");
  if (part) { part.open = true; target.scrollIntoView(); }
}
addEventListener("hashchange", openTarget);
openTarget();

const data = document.getElementById("chart-data");
if (data) compareRuns(JSON.parse(data.textContent));

function compareRuns(spec) {
  const menus = document.getElementById("menus");
  const chosen = [...menus.querySelectorAll("select:not([name=measure])")];
  const table = document.getElementById("runs");
  const networks = spec.datasets.networks;
  const rows = [...table.tBodies[0].rows];
  const buttons = rows.map((row) => row.querySelector(".pick"));
  let view = null;
  let picked = -1;

  function isShown(row, index) {
    const network = networks[buttons[index].dataset.run];
    return chosen.every((menu) => !menu.value || network[menu.name] === menu.value)
      && row.textContent.toLowerCase().includes(menus.elements.text.value.toLowerCase());
  }

  function update() {
    rows.forEach((row, index) => { row.hidden = !isShown(row, index); });
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${shown} of ${rows.length} networks are shown.`;
    if (!view) return;
    for (const menu of chosen) view.signal(menu.name, menu.value);
    const measure = menus.elements.measure;
    view.signal("measure", measure.value);
    view.signal("measure_title", measure.selectedOptions[0].text);
    const isThere = rows.some((row, index) => !row.hidden && Number(buttons[index].dataset.run) === picked);
    view.signal("picked", isThere ? picked : -1);
    view.runAsync();
  }

  function pick(run) {
    picked = picked === run ? -1 : run;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.run) === picked));
    }
    update();
  }

  function sort(heading, column) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const compared = new Intl.Collator("en", { numeric: true }).compare;
    const text = (row) => row.cells[column].textContent;
    const number = (row) => (text(row) === "∞" ? Infinity : text(row) === "" ? NaN : Number(text(row)));
    const numeric = rows.every((row) => text(row) === "" || !Number.isNaN(number(row)));
    const sign = descending ? -1 : 1;
    const sorted = [...rows].sort((one, other) => {
      if (!text(one) || !text(other)) return Boolean(text(other)) - Boolean(text(one));
      if (!numeric) return sign * compared(text(one), text(other));
      return number(one) === number(other) ? 0 : sign * (number(one) < number(other) ? -1 : 1);
    });
    table.tBodies[0].append(...sorted);
  }

  function download() {
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const lines = [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter((row) => !row.hidden)]
      .map((row) => [...row.cells].slice(1).map((cell) => quoted(cell.textContent)).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = "runs.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function draw() {
    const card = document.getElementById("chart");
    spec.width = Math.max(260, Math.min(760, document.querySelector("main").clientWidth - 190));
    const made = await vegaEmbed(card.firstElementChild, spec, { renderer: "svg", actions: false, defaultStyle: false });
    view = made.view;
    view.addEventListener("click", (event, item) => {
      const run = item && item.datum && item.datum.run;
      if (typeof run === "number") pick(run);
    });
    update();
    card.dataset.drawn = "true";
  }

  menus.addEventListener("input", update);
  menus.addEventListener("submit", (event) => event.preventDefault());
  for (const button of buttons) button.addEventListener("click", () => pick(Number(button.dataset.run)));
  for (const heading of table.tHead.rows[0].cells) {
    const button = heading.querySelector("button");
    if (button) button.addEventListener("click", () => sort(heading, Number(button.dataset.column)));
  }
  document.getElementById("download").addEventListener("click", download);
  update();
  draw();
}
