// The tab "Results": the tables of experiments.
import { element, find, getJson, guarded } from "./page.js";
import { empty, table } from "./sets.js";

export function startResults({ results }) {
  const panel = find("results");
  if (results === null) {
    panel.replaceChildren(empty("No folder of results is open.", "elicit explore --results DIR"));
    return;
  }
  guarded(async () => {
    const found = (await getJson("api/results")).results;
    const shown = found.map(section);
    panel.replaceChildren(...(shown.length ? shown : [element("section", {}, [element("p", { text: `No result.json lies in ${results}.` })])]));
  })();
}

function section(result) {
  const facts = Object.entries(result.facts).map(([name, value]) => [name.replaceAll("_", " "), value]);
  const parts = [element("h2", { text: result.name })];
  if (result.error) parts.push(element("p", { text: result.error }));
  for (const { title, header, rows } of result.tables) parts.push(element("h3", { text: title }), table(header, rows));
  if (facts.length) parts.push(table(["", ""], facts));
  return element("section", { "aria-label": result.name }, parts);
}
