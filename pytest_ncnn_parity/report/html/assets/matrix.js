// The matrix: comparisons down, layers across, each cell the worst of all samples.

const ROW = 18;
const WIDTH = 1180;
const SHARES = [0.01, 0.1, 0.5]; // of the tolerance: where one shade ends and the next begins

/** How bad a case is: failed, then by the share of its tolerance, then not compared. */
function rank(c) {
  if (c.verdict === "failed") return 4;
  if (c.verdict === "known") return 3;
  return c.compared ? 1 + Math.min(1, c.used ?? 0) : 0;
}

function shade(c) {
  if (c.verdict !== "passed") return c.verdict;
  if (!c.compared) return "skipped";
  const step = SHARES.findIndex((share) => c.used <= share);
  return `share-${step < 0 ? SHARES.length : step}`;
}

class Matrix {
  constructor(section, cases, table) {
    this.place = section.querySelector("[data-matrix]");
    this.table = table;
    this.rows = new Map();
    for (const c of cases.all()) this.add(c);
    for (const [name, row] of this.rows) if (!row.some((c) => c.compared)) this.rows.delete(name);
    if (this.rows.size === 0) return;
    this.across = Math.max(...[...this.rows.values()].map((row) => row.length));
    this.unit = Math.min(ROW, WIDTH / this.across);
    this.draw();
  }

  add(c) {
    if (!this.rows.has(c.comparison)) this.rows.set(c.comparison, []);
    const row = this.rows.get(c.comparison);
    if (!row[c.place] || rank(c) > rank(row[c.place])) row[c.place] = c;
  }

  draw() {
    const body = this.place.querySelector("[data-rows]");
    for (const [name, row] of this.rows) {
      const strip = this.strip(name, row);
      body.append(element("div", { class: "strip-name" }, name), strip);
    }
    const drawn = new Set([...this.rows.values()].flatMap((row) => row.map(shade)));
    for (const key of this.place.querySelectorAll("[data-cell]")) key.hidden = !drawn.has(key.dataset.cell);
    this.place.hidden = false;
  }

  strip(name, row) {
    const svg = svgElement("svg", {
      viewBox: `0 0 ${this.across * this.unit} ${ROW}`,
      preserveAspectRatio: "none",
      role: "img",
      style: `max-width: ${this.across * this.unit}px`,
      "aria-label": this.summary(name, row),
    });
    const paths = new Map();
    const gap = this.unit > 4 ? 1 : 0;
    row.forEach((c, x) => {
      const at = paths.get(shade(c)) ?? [];
      at.push(`M${x * this.unit} 1h${this.unit - gap}v${ROW - 2}h${gap - this.unit}z`);
      paths.set(shade(c), at);
    });
    for (const [kind, at] of paths) svg.append(svgElement("path", { class: kind, d: at.join("") }));
    const under = (event) => {
      const box = svg.getBoundingClientRect();
      return row[Math.floor(((event.clientX - box.left) / box.width) * this.across)];
    };
    svg.addEventListener("pointermove", (event) => this.tell(under(event)));
    svg.addEventListener("click", (event) => {
      const c = under(event);
      if (c) this.table.search(c.name, c.comparison);
    });
    return svg;
  }

  tell(c) {
    const share = c?.compared && c.used !== null ? `, ${shown(c.used * 100, 3)} % of its tolerance` : "";
    const text = c ? `${c.name} (${c.operator}), ${c.comparison}, ${c.sample}: ${c.verdict}${share}` : "";
    this.place.querySelector("[data-under]").textContent = text;
  }

  summary(name, row) {
    const red = row.filter((c) => c.verdict === "failed").map((c) => c.name);
    const more = red.length > 5 ? ` and ${red.length - 5} more` : "";
    return `${name}: ${red.length ? `red: ${red.slice(0, 5).join(", ")}${more}` : "none is red"}`;
  }
}
