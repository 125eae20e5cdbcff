"use strict";
// Filters the pairs as one types; without scripts all of them are shown.
for (const box of document.querySelectorAll("[data-search]")) {
  const [query, direction, count] = ["input", "select", "output"].map((name) => box.querySelector(name));
  const items = [...box.querySelectorAll("li")].map((item) => [item, item.textContent.toLowerCase()]);
  const filter = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [item, text] of items) {
      const fits = !direction.value || item.dataset.direction === direction.value;
      item.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += !item.hidden;
    }
    count.value = `${shown} of ${items.length} pairs`;
  };
  box.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  query.addEventListener("input", filter);
  direction.addEventListener("change", filter);
}
// A link to an arm's commands opens them.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.open = true;
};
addEventListener("hashchange", open);
open();
