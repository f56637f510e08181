// Sets formulas in type when the site is built, so that a page needs no script to show them.
//
//     echo '[{"tex": "x_t", "display": false}]' | node web/typeset.mjs
//
// Prints { html, css }: a piece of HTML for each formula, with MathML inside it for screen readers,
// and the style sheet that all of them share. The fonts are in mathjax/es5/output/chtml/fonts/woff-v2.

import { readFileSync } from "node:fs";
import MathJaxNode from "mathjax";

const MathJax = await MathJaxNode.init({
  loader: { load: ["input/tex", "output/chtml", "a11y/assistive-mml"] },
  chtml: { fontURL: "." },
});
const html = [];
for (const { tex, display } of JSON.parse(readFileSync(0, "utf8"))) {
  const formula = MathJax.startup.adaptor.outerHTML(await MathJax.tex2chtmlPromise(tex, { display }));
  if (formula.includes("<mjx-merror")) {
    console.error(`MathJax cannot read the formula ${tex}`);
    process.exit(1);
  }
  html.push(formula);
}
const css = MathJax.startup.adaptor.textContent(MathJax.chtmlStylesheet());
process.stdout.write(JSON.stringify({ html, css }));
