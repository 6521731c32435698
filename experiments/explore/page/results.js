// The tab "Results": the tables of experiments.
import { element, find, getJson, guarded } from "./page.js";
import { empty, facts, table } from "./sets.js";

export function startResults({ results }) {
  const panel = find("results");
  if (results === null) {
    panel.replaceChildren(empty("No folder of results is open.", "elicit explore --results DIR"));
    return;
  }
  panel.replaceChildren(element("section", {}, [element("p", { text: "Reading the results …", role: "status" })]));
  return guarded(async () => {
    const found = (await getJson("api/results")).results;
    const shown = found.map(section);
    panel.replaceChildren(...(shown.length ? shown : [element("section", {}, [element("p", { text: `No result.json lies in ${results}.` })])]));
  })();
}

function section(result) {
  const known = Object.entries(result.facts).filter(([, value]) => value !== result.name);
  const parts = [element("h2", { text: result.name })];
  if (result.error) parts.push(element("p", { text: result.error }));
  if (result.verdict) parts.push(element("p", { text: result.verdict }));
  for (const { title, header, rows } of result.tables) {
    if (title) parts.push(element("h3", { text: title }));
    parts.push(table(header, rows, [result.name, title].filter(Boolean).join(": ")));
  }
  if (known.length) parts.push(facts(known, `Origin of ${result.name}`));
  return element("section", { "aria-label": result.name }, parts);
}
