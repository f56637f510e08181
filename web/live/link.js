// A link that holds what the fields of a box hold: page.html#easel-class-ship-seed-4.

/** Return the address of this page that fills these fields, by `followLink` with the same word. */
export function linkTo(word, fields) {
  const url = new URL(location.href);
  url.hash = [word, ...fields.flatMap(({ name, value }) => [name, value])].join("-");
  return url.href;
}

/** Copy a link, or show it in this field where the browser refuses; returns what was done. */
export async function copyLink(link, field) {
  field.value = link;
  try {
    await navigator.clipboard.writeText(link);
    return "The link is copied.";
  } catch {
    field.parentElement.hidden = false;
    field.select();
    return "Copy the link from the field.";
  }
}

/**
 * Fill fields as the address asks; one that it does not name stays as it is.
 *
 * @returns {string} what is wrong with the link, or nothing; undefined where it is for others
 */
export function followLink(word, fields) {
  const [first, ...words] = location.hash.slice(1).split("-");
  if (first !== word) return undefined;
  for (const field of fields) {
    if (!words.includes(field.name)) continue;
    const wanted = words[words.indexOf(field.name) + 1];
    const usual = field.value;
    field.value = wanted;
    // A slider takes the nearest value that it has, and a list none, and they say nothing.
    if (field.value === wanted && field.validity.valid) continue;
    field.value = usual;
    return `This link asks for another ${field.name} than there is; it stays at ${usual}.`;
  }
  return "";
}
