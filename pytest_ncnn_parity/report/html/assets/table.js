// The table of all cases: filters, sorts, and shows the rest of a case where it is asked for.

const PAGE = 100;
const VERDICTS = ["failed", "known", "passed", "skipped"];

const COLUMNS = [
  { name: "#", key: (c) => c.place, cell: (c) => (c.operator === "output" ? "" : String(c.place)), n: true },
  { name: "layer or output", key: (c) => c.name },
  { name: "operator", key: (c) => c.operator },
  { name: "verdict", key: (c) => VERDICTS.indexOf(c.verdict), cell: (c) => badge(c.verdict) },
  { name: "cause", key: (c) => c.cause },
  { name: "comparison", key: (c) => c.comparison },
  { name: "sample", key: (c) => c.sample },
  { name: "error", key: (c) => c.error, n: true },
  { name: "allowed", key: (c) => (c.compared ? c.allowed : null), n: true },
  { name: "accumulated", key: (c) => c.accumulated, n: true },
  { name: "max |reference|", key: (c) => c.reference, n: true, digits: 6 },
  { name: "max |candidate|", key: (c) => c.candidate, n: true, digits: 6 },
  { name: "ran on", key: (c) => c.execution },
];

function badge(verdict) {
  const sign = element("span", { class: "sign", "aria-hidden": "true" });
  return element("span", { class: `badge ${verdict}` }, sign, verdict);
}

/** Before or after: texts as people sort them, nan above inf, what is not there last. */
function order(a, b) {
  if (typeof a === "string" && typeof b === "string") {
    if (!a || !b) return Number(!a) - Number(!b);
    return a.localeCompare(b, "en", { numeric: true });
  }
  const rank = (value) => (Number.isNaN(value) ? Number.MAX_VALUE : value);
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  if (a === Infinity && Number.isNaN(b)) return -1;
  if (b === Infinity && Number.isNaN(a)) return 1;
  return rank(a) - rank(b);
}

/** The command that runs one case again. */
function rerun(nodeid) {
  return `pytest --ncnn-parity '${nodeid.replaceAll("'", "'\\''")}'`;
}

class Table {
  constructor(section, cases) {
    this.section = section;
    this.cases = cases.all();
    this.form = section.querySelector("form.filters");
    this.status = section.querySelector("[data-shown]");
    this.more = section.querySelector("[data-more]");
    this.table = section.querySelector("table.cases");
    this.body = this.table.tBodies[0];
    this.sorted = { column: COLUMNS[3], up: true };
    this.shown = PAGE;
    this.hideEmpty();
    this.fillFilters();
    this.makeHead();
    this.listen();
    this.draw();
  }

  /** The part of the page's address that names this model, and what its table is narrowed to. */
  get address() {
    const wanted = [...new FormData(this.form)].filter(([, value]) => value);
    return `#${this.section.id}${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`;
  }

  /** Narrow the table to what an address asks for. */
  open(wanted) {
    this.form.reset();
    for (const [name, value] of new URLSearchParams(wanted)) {
      if (this.form.elements.namedItem(name)) this.form.elements.namedItem(name).value = value;
    }
    this.shown = PAGE;
    this.draw();
    this.form.scrollIntoView({ block: "start" });
  }

  remember() {
    history.replaceState(null, "", this.address);
  }

  /** Columns that have nothing to tell in this report are left out. */
  hideEmpty() {
    const isFilled = (column) => this.cases.some((c) => ![null, ""].includes(column.key(c)));
    this.columns = COLUMNS.filter(isFilled);
  }

  fillFilters() {
    const all = element("option", { value: "" }, "all");
    for (const select of this.form.querySelectorAll("select")) {
      const values = [...new Set(this.cases.map((c) => c[select.name]))].filter(Boolean);
      if (select.name === "verdict") values.sort((a, b) => VERDICTS.indexOf(a) - VERDICTS.indexOf(b));
      else if (select.name !== "comparison") values.sort(order);
      select.replaceChildren(all.cloneNode(true), ...values.map((v) => element("option", { value: v }, v)));
      select.disabled = values.length === 0;
    }
  }

  makeHead() {
    const cells = this.columns.map((column) => {
      const button = element("button", { type: "button" }, column.name);
      button.addEventListener("click", () => this.sortBy(column));
      column.n && button.classList.add("n");
      return element("th", { scope: "col" }, button);
    });
    this.table.tHead.replaceChildren(element("tr", {}, ...cells));
  }

  listen() {
    const again = () => {
      this.shown = PAGE;
      this.draw();
      this.remember();
    };
    this.form.addEventListener("input", again);
    this.form.addEventListener("reset", () => setTimeout(again));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.more.addEventListener("click", () => {
      this.shown += PAGE * 5;
      this.draw();
    });
  }

  sortBy(column) {
    this.sorted = { column, up: this.sorted.column === column ? !this.sorted.up : true };
    this.draw();
  }

  /** Show the cases of one layer or output. */
  search(name, comparison = "") {
    this.open({ name, comparison });
    this.remember();
  }

  matching() {
    const wanted = new FormData(this.form);
    const name = wanted.get("name").trim().toLowerCase();
    const exact = [...wanted].filter(([key, value]) => key !== "name" && value);
    const matches = this.cases.filter(
      (c) => exact.every(([key, value]) => c[key] === value) && c.name.toLowerCase().includes(name),
    );
    const { column, up } = this.sorted;
    const missing = (c) => Number([null, ""].includes(column.key(c)));
    return matches.sort(
      (a, b) =>
        missing(a) - missing(b) ||
        (up ? 1 : -1) * order(column.key(a), column.key(b)) ||
        a.place - b.place ||
        a.index - b.index,
    );
  }

  draw() {
    const matching = this.matching();
    const rows = matching.slice(0, this.shown);
    this.body.replaceChildren(...rows.map((c) => this.row(c)));
    for (const [i, cell] of [...this.table.tHead.rows[0].cells].entries()) {
      const here = this.columns[i] === this.sorted.column;
      cell.ariaSort = here ? (this.sorted.up ? "ascending" : "descending") : "none";
    }
    this.status.textContent = `${rows.length} of ${matching.length} shown; ${this.cases.length} cases in all`;
    this.more.hidden = rows.length === matching.length;
  }

  row(c) {
    const cells = this.columns.map((column) => {
      const value = column.cell ? column.cell(c) : column.key(c);
      if (column.name === "layer or output") return element("th", { scope: "row" }, this.opener(c));
      const cell = element("td", {}, typeof value === "string" || value instanceof Node ? value : shown(value, column.digits));
      if (column.n) cell.className = "n";
      return cell;
    });
    return element("tr", { class: c.verdict }, ...cells);
  }

  /** The name, as a button that shows the rest of the case below its row. */
  opener(c) {
    const button = element("button", { type: "button", class: "open", "aria-expanded": "false" }, c.name);
    button.addEventListener("click", () => {
      const row = button.closest("tr");
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) row.nextElementSibling.remove();
      else row.after(this.details(c));
    });
    return button;
  }

  details(c) {
    const facts = element("dl", { class: "facts" });
    const add = (name, text) => text && facts.append(element("dt", {}, name), element("dd", {}, text));
    add("reads", c.inputs.join(", "));
    add("makes", c.outputs.join(", "));
    if (c.compared) {
      const names = ["max_abs", "cosine", "sqnr_db", "nan", "inf", "mismatched", "total"];
      add("metrics", names.map((name) => `${name} ${shown(c[name], 7)}`).join(" · "));
      const terms = Object.entries(c.tolerance).filter(([, value]) => value);
      add("allowed", terms.map(([name, value]) => `${name} ${shown(value)}`).join(" · "));
    }
    const id = `rerun-${this.section.dataset.model}-${c.index}`;
    const button = element("button", { type: "button", "data-copy": id }, "Copy");
    facts.append(element("dt", {}, "run again"));
    facts.append(element("dd", {}, element("code", { id }, rerun(c.nodeid)), " ", button));
    const cell = element("td", { colspan: String(this.columns.length) }, facts);
    if (c.message.length) cell.append(element("pre", { class: "text" }, c.message.join("\n")));
    else if (c.verdict === "failed") add("message", "left out here for room; the JSON report has it");
    return element("tr", { class: "details" }, cell);
  }
}
