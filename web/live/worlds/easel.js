// Chapter 12, an easel: a small sheet under the hand, and four answers of the network while it draws.

import { keepPainted } from "../canvas.js";
import { recordedCars } from "../cars.js";
import { INTRODUCTION, MARKUP, mixedShares } from "../easel-page.js";
import { onHand } from "../hand.js";
import { keepForOffline } from "../keep.js";
import { copyLink, followLink, linkTo } from "../link.js";
import { openNetwork, showProgress, sizeOfFirstLoad } from "../network.js";
import { onFile, readPhoto, savePicture } from "../photo.js";
import { drawNumbers } from "../pixels.js";
import { SIDE, apply, covered, emptySheet, flooded, paintSheet, sketchedSheet } from "../sheet.js";

const [LEARNED, TEN] = [["ten-guided.onnx"], ["ten.onnx"]]; // the second is guided by a second call
const [QUICK, SHARP] = [4, 16]; // steps while the hand moves, and when it rests
const REST = 400; // milliseconds without a move
const UNDONE = 100; // how many changes can be taken back

export function mount(root) {
  root.innerHTML = MARKUP;
  const form = root.querySelector("form");
  const { tool, colour, size, file, seed, second, mix, strength, guidance, address } = form.elements;
  const settings = ["class", "second", "mix", "strength", "guidance", "seed"].map((name) => form.elements[name]);
  const canvas = root.querySelector("canvas");
  const [status, problem, progress] = [".live-status", ".live-error", "progress"].map((s) => root.querySelector(s));
  const [takes, saves] = ["take", "save"].map((name) => [...root.querySelectorAll(`[name=${name}]`)]);
  const ask = openNetwork(root, receive, LEARNED);
  const before = []; // sheets to go back to
  let sheet = sketchedSheet();
  let answers = [];
  let last; // the place of the stroke that goes on
  let cursor; // that of the keyboard, where it is in use
  let wanted; // the picture that was asked for last
  let asked; // the request at work
  let waiting = false; // whether something changed since it was sent
  let resting;

  const repaint = keepPainted(canvas, 1, (context, width) => paintSheet(context, width, sheet, cursor));
  onHand(canvas, draw, look);
  canvas.addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "z" && undo());
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const field of settings) field.addEventListener("input", move);
  for (const button of root.querySelectorAll(".easel-colours button")) {
    button.addEventListener("click", () => {
      colour.value = button.value;
      if (tool.value !== "fill") tool.value = "brush";
    });
  }
  takes.forEach((button, i) => button.addEventListener("click", () => take(answers[i])));
  saves.forEach((button, i) => {
    button.addEventListener("click", () => savePicture(answers[i], SIDE, `easel-answer-${i + 1}`));
  });
  const presses = {
    undo,
    clear: () => begin(emptySheet()),
    car: takeCar,
    sheet: () => savePicture(sheet.picture, SIDE, "easel-sheet"),
    another: () => {
      seed.value = Math.floor(Math.random() * 10000);
      move();
    },
    link: async () => {
      const done = await copyLink(linkTo("easel", settings), address);
      status.textContent = `${done} It holds the settings, not the sheet.`;
    },
  };
  for (const [name, press] of Object.entries(presses)) form.elements[name].addEventListener("click", press);
  onFile(root, file, takePhoto);
  window.addEventListener("hashchange", follow);
  follow();
  sizeOfFirstLoad(LEARNED).then((sentence) => (status.textContent ||= `${INTRODUCTION} ${sentence}`));

  /** Let the tool change the sheet on the way to this place, from the last one of the same stroke. */
  function draw(place, begins) {
    if (begins) remember();
    const fills = tool.value === "fill";
    if (fills && !begins) return;
    const from = begins ? place : last;
    const pixels = fills ? flooded(sheet.picture, place) : covered(from, place, Number(size.value));
    apply(sheet, pixels, tool.value, colour.value);
    last = place;
    move();
  }

  function look(place) {
    cursor = place;
    if (cursor) status.textContent = `Column ${place[0] + 1}, row ${place[1] + 1} of the sheet.`;
    repaint();
  }

  function remember() {
    before.push({ picture: sheet.picture.slice(), hole: sheet.hole.slice() });
    if (before.length > UNDONE) before.shift();
  }

  function undo() {
    if (!before.length) return;
    sheet = before.pop();
    move();
  }

  /** Go on from another sheet; the one so far can be brought back. */
  function begin(other) {
    wanted = undefined;
    remember();
    sheet = other;
    move();
  }

  function take(picture) {
    // What lies outside of the range of colours is not drawn either.
    begin({ ...emptySheet(), picture: picture.map((x) => Math.min(1, Math.max(-1, x))) });
  }

  async function takeCar() {
    const cars = await recordedCars().catch(() => undefined);
    if (cars) take(cars[Math.floor(Math.random() * cars.length)]);
    else problem.textContent = "The drawn cars could not be loaded. A picture of yours still works.";
  }

  async function takePhoto(photo) {
    wanted = photo;
    try {
      const picture = await readPhoto(photo, SIDE);
      if (wanted === photo) take(picture);
    } catch (error) {
      if (wanted === photo) problem.textContent = error.message;
    }
  }

  function follow() {
    const trouble = followLink("easel", settings);
    tell();
    if (trouble === undefined) return;
    root.scrollIntoView();
    if (ask.started()) move();
    problem.textContent = trouble;
  }

  /** Answer quickly while the hand moves, and in more steps when it rests. */
  function move() {
    repaint();
    tell();
    problem.textContent = "";
    clearTimeout(resting);
    if (!seed.reportValidity()) return;
    resting = setTimeout(() => request(SHARP), REST);
    if (asked?.steps === QUICK) waiting = true;
    else request(QUICK);
  }

  function tell() {
    const words = { mix: `${mix.value} %`, strength: level().toFixed(2) };
    for (const [name, value] of Object.entries(words)) {
      form.elements[name].parentElement.querySelector(".live-where").textContent = value;
    }
  }

  function request(steps) {
    const { picture, hole } = sheet;
    const shares = mixedShares(form.elements.class, second, mix.value / 100);
    const numbers = { level: level(), guidance: Number(guidance.value) || 1, seed: Number(seed.value), n: takes.length };
    const networks = guidance.value === "learned" ? LEARNED : TEN;
    asked = { networks, picture, hole: hole.includes(1) ? hole : undefined, shares, steps, ...numbers };
    waiting = false;
    ask(asked);
  }

  function receive(message) {
    if (message.type === "progress") return showProgress(progress, message);
    progress.hidden = true;
    if (message.type === "done") return show(message);
    asked = undefined;
    problem.textContent = message.text;
  }

  function show({ drawn, milliseconds, runtimeFiles }) {
    const { steps, hole } = asked;
    const length = drawn.length / takes.length;
    answers = takes.map((_, i) => drawn.slice(i * length, (i + 1) * length));
    takes.forEach((button, i) => drawNumbers(button.firstChild.getContext("2d"), answers[i], 0, 0, SIDE));
    for (const button of [...takes, ...saves]) button.disabled = false;
    // A sentence for every quick answer would be too much to hear.
    if (steps === SHARP) status.textContent = `${sentence(hole)}, in ${steps} steps: ${Math.round(milliseconds)} ms.`;
    Object.assign(root.dataset, { steps, milliseconds, drawn: Number(root.dataset.drawn ?? 0) + 1 });
    keepForOffline(runtimeFiles);
    asked = undefined;
    if (waiting) request(QUICK);
  }

  function sentence(hole) {
    const more = mix.value > 0 ? ` and ${mix.value} % ${second.value}` : "";
    const how = `strength ${level().toFixed(2)}, guidance ${guidance.value}, seed ${seed.value}`;
    return `Four ${hole ? "ways to fill the hole" : "answers to the sheet"}: ${form.elements.class.value}${more}, ${how}`;
  }

  function level() {
    return strength.value / 100;
  }
}
