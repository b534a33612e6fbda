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

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button));
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
  const charts = new Charts(section, cases, new Table(section, cases));
  if (charts.empty) continue;
  const place = section.querySelector(".charts");
  waiting.set(place, charts);
  watcher.observe(place);
}

addEventListener("beforeprint", () => [...waiting.keys()].forEach(begin));
document.documentElement.dataset.ready = String(Math.round(performance.now()));
