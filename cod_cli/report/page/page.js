"use strict";
// Filters the pairs as one types or chooses; without scripts all of them are shown.
for (const box of document.querySelectorAll("[data-search]")) {
  const [form, query, count] = ["form", "input", "output"].map((name) => box.querySelector(name));
  const choices = [...box.querySelectorAll("select")];
  const items = [...box.querySelectorAll("li")].map((item) => [item, item.textContent.toLowerCase()]);
  const filter = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [item, text] of items) {
      const chosen = choices.every((choice) => !choice.value || item.dataset[choice.name] === choice.value);
      item.hidden = !(chosen && words.every((word) => text.includes(word)));
      shown += !item.hidden;
    }
    count.value = `${shown} of ${items.length} pairs`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
}
// A link to an arm's commands opens them; on paper every test is shown.
const open = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches("details")) target.open = true;
};
addEventListener("hashchange", open);
addEventListener("beforeprint", () => document.querySelectorAll(".exact").forEach((details) => (details.open = true)));
open();
