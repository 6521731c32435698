// Tabs, the state of the server, and the start of every part of the page.
import { element, find, getJson, say, showProblem } from "./page.js";
import { startElicit } from "./elicit.js";
import { startSets } from "./sets.js";
import { startGans } from "./gans.js";
import { startResults } from "./results.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

// What fills a tab when it is looked at first, so that the first update of an image need not wait for it.
const atFirst = {};

function choose(tab, focus = false) {
  for (const each of tabs) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    const panel = find(each.getAttribute("aria-controls"));
    panel.hidden = !isChosen || !isReady;
    if (!panel.hidden) {
      atFirst[panel.id]?.();
      delete atFirst[panel.id];
    }
  }
  if (focus) tab.focus();
}

find("tabs").addEventListener("click", (event) => {
  const tab = event.target.closest('[role="tab"]');
  if (tab) choose(tab);
});
find("tabs").addEventListener("keydown", (event) => {
  const moves = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const now = tabs.indexOf(document.activeElement), move = moves[event.key];
  const next = Number.isFinite(move) ? (now + move + tabs.length) % tabs.length : move < 0 ? 0 : tabs.length - 1;
  choose(tabs[next], true);
});

let isReady = false;

async function waitUntilReady() {
  for (;;) {
    const state = await getJson("api/state");
    if (state.state === "ready") return state;
    if (state.state === "failed") throw new Error(state.error);
    find("training").hidden = false;
    showTraining(state);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

function showTraining({ state, epoch, epochs, accuracy }) {
  const isTraining = state === "training";
  find("training-title").textContent = isTraining ? "A classifier is being trained" : "The classifier is being compiled";
  find("training-progress").hidden = !isTraining;
  if (!isTraining) {
    find("training-words").textContent = "Then every update comes at once.";
    return;
  }
  const bar = find("training-progress");
  bar.max = epochs;
  bar.value = epoch;
  const so = epoch ? `Epoch ${epoch} of ${epochs}: ${(100 * accuracy).toFixed(1)}% of the test digits are right.` : "Its training is being compiled.";
  find("training-words").textContent = `It learns handwritten digits. This happens once and takes up to a minute. ${so}`;
}

async function start() {
  try {
    const state = await waitUntilReady();
    isReady = true;
    find("training").hidden = true;
    find("subject").replaceChildren(
      "Choose what the classifier ", element("strong", { text: state.classifier }),
      " is to say of an image of ", element("strong", { text: state.dataset }), ", and watch the image change until it does.",
    );
    await startElicit(state);
    for (const [name, open] of [["sets", startSets], ["gans", startGans], ["results", startResults]]) atFirst[name] = () => open(state);
    choose(tabs.find((tab) => tab.getAttribute("aria-selected") === "true"));
    say("Ready");
  } catch (error) {
    showProblem(error);
  }
}

start();
