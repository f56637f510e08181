// What stands in the box of the easel before a hand touches it.

const LABELS = "airplane automobile bird cat deer dog frog horse ship truck".split(" ");
export const INTRODUCTION =
  "Draw on the sheet, by hand or by arrow keys and space, and four answers come. Nothing is sent.";

const TOOLS = { brush: "Brush", fill: "Fill", eraser: "Eraser", hole: "Hole", close: "Close hole" };
const PALETTE = {
  black: "#181818", grey: "#7d7d7d", white: "#ffffff", red: "#c62828", orange: "#e67e22", yellow: "#f2d03b",
  green: "#3f8f3f", "light blue": "#9fc5e8", blue: "#2451a6", brown: "#7a5230",
};

const tools = Object.entries(TOOLS).map(([tool, words], i) =>
  `<label><input type="radio" name="tool" value="${tool}" ${i ? "" : "checked"}> ${words}</label>`);
const colours = Object.entries(PALETTE).map(([name, colour]) =>
  `<button type="button" value="${colour}" aria-label="${name}" title="${name}" style="background: ${colour}"></button>`);
const answers = [1, 2, 3, 4].map((number) => `<div>
  <button type="button" name="take" aria-label="Go on from answer ${number}" disabled><canvas width="32" height="32"></canvas></button>
  <button type="button" name="save" aria-label="Save answer ${number} as PNG" disabled>Save</button></div>`);
const classes = (chosen) => [...LABELS, "any"].map((label) =>
  `<option ${label === chosen ? "selected" : ""}>${label}</option>`).join("");
const slider = (name, words, min, max, step, value) => `<label class="live-wide">${words} <span class="live-where"></span>
  <input type="range" name="${name}" min="${min}" max="${max}" step="${step}" value="${value}"></label>`;

export const MARKUP = `
<div class="world-half">
  <div><canvas tabindex="0" role="application"
    aria-label="The sheet, 32 by 32 pixels: arrow keys move, the space bar draws"></canvas></div>
</div>
<div class="world-half easel-answers" role="group" aria-label="Four answers">${answers.join("")}</div>
<form class="live-controls">
  <progress hidden aria-label="Loading the network"></progress>
  <p class="live-status" role="status"></p>
  <p class="live-error" role="alert"></p>
  <fieldset class="live-row"><legend>Tool</legend>${tools.join("")}</fieldset>
  <div class="live-row easel-colours" role="group" aria-label="Colours">${colours.join("")}</div>
  <div class="live-row">
    <label>Colour <input type="color" name="colour" value="${PALETTE.red}"></label>
    <label>Brush size <select name="size">
      <option value="1">1 pixel</option><option value="2" selected>2 pixels</option><option value="4">4 pixels</option>
    </select></label>
  </div>
  <div class="live-row">
    <button type="button" name="undo">Undo</button>
    <button type="button" name="clear">Clear</button>
    <button type="button" name="car">A drawn car</button>
    <button type="button" name="sheet">Save the sheet</button>
  </div>
  <label class="live-wide">A picture of yours, or drop one here: it stays in this browser
    <input type="file" name="file" accept="image/png,image/jpeg,image/gif,image/webp"></label>
  <div class="live-row">
    <label>Class <select name="class">${classes("automobile")}</select></label>
    <label>Second class <select name="second">${classes("truck")}</select></label>
  </div>
  ${slider("mix", "Share of the second class", 0, 100, 5, 0)}
  ${slider("strength", "Strength: the noise level to begin at,", 5, 100, 5, 60)}
  <label class="live-wide">Guidance <select name="guidance">
    <option value="learned">learned: one call a step</option>
    ${[1, 1.5, 2, 3, 4].map((w) => `<option value="${w}">${w}${w > 1 ? ": two calls a step" : ": none"}</option>`).join("")}
  </select></label>
  <label class="live-wide">Seed <input type="number" name="seed" min="0" max="4294967295" value="0" required></label>
  <div class="live-row">
    <button type="button" name="another">Another seed</button>
    <button type="button" name="link">Copy link</button>
  </div>
  <label class="live-wide" hidden>Link to these settings <input name="address" readonly></label>
</form>`;

/** Return the shares of the classes that two lists name, and at the end of any class. */
export function mixedShares(first, second, share) {
  const shares = new Array(first.options.length).fill(0);
  shares[first.selectedIndex] += 1 - share;
  shares[second.selectedIndex] += share;
  return shares;
}
