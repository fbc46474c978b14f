"use strict";
// Sorts a table by the column whose heading is pressed. Without it the page is whole, and in its first order.
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const numbers = heading.classList.contains("n");
      const before = heading.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      const key = (row) => row.cells[column].textContent;
      const order = (a, b) => numbers
        ? Number(key(a).replaceAll(",", "")) - Number(key(b).replaceAll(",", ""))
        : key(a).localeCompare(key(b));
      body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
