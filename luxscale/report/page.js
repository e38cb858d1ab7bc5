"use strict";
// Tables: a click on a heading sorts by it, another one the other way; what is not known stays last.
function key(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}
function compare(a, b, numeric) {
  return numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
}
function sort(heading) {
  const table = heading.closest("table"), body = table.tBodies[0], column = heading.cellIndex;
  const numeric = heading.classList.contains("number");
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row, column, numeric) }));
  rows.sort((a, b) => (a.key === null) - (b.key === null) || (a.key === null ? 0 : sign * compare(a.key, b.key, numeric)));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  body.append(...rows.map(({ row }) => row));
}
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
// Figures: a click enlarges one; Escape, or a click anywhere, closes it, and the focus returns.
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const shown = button.querySelector("img"), large = dialog.querySelector("img");
    large.src = shown.src;
    large.alt = shown.alt;
    dialog.querySelector("p").textContent = button.closest("figure").querySelector("figcaption").textContent;
    dialog.classList.toggle("tall", shown.height > 1.1 * shown.width); // which would not be larger if it had to fit
    dialog.showModal();
    dialog.scrollTop = 0;
  });
}
dialog.addEventListener("click", () => dialog.close());
