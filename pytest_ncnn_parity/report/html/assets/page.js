// Brings the parts together: tables at once, charts when they come into view or go to paper.

function sayCopied(button, text) {
  const was = button.textContent;
  button.textContent = text;
  setTimeout(() => (button.textContent = was), 2000);
}

async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    sayCopied(button, "Copied");
  } catch {
    getSelection().selectAllChildren(from); // no right to the clipboard: the text is chosen, to be copied
    sayCopied(button, "Press Ctrl+C");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

const tables = new Map();

/** What stands behind # in the address: a model, and what its table is narrowed to. */
function follow() {
  const [id, wanted] = decodeURI(location.hash).slice(1).split("?");
  if (wanted) tables.get(id)?.open(wanted);
}

const waiting = new Map();
const watcher = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => begin(entry.target)),
  { rootMargin: "400px" },
);

function begin(place) {
  const charts = waiting.get(place);
  if (!charts) return undefined;
  waiting.delete(place);
  watcher.unobserve(place);
  return charts.start();
}

for (const section of document.querySelectorAll("section.model")) {
  const cases = new Cases(data.models[Number(section.dataset.model)]);
  const table = new Table(section, cases);
  tables.set(section.id, table);
  new Matrix(section, cases, table);
  const charts = new Charts(section, cases, table);
  if (charts.empty) continue;
  const place = section.querySelector(".charts");
  waiting.set(place, charts);
  watcher.observe(place);
}

follow();
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => [...waiting.keys()].forEach(begin));
document.documentElement.dataset.ready = String(Math.round(performance.now()));
