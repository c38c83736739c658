// What makes the pages handier. All of them can be read without it; only overriding a card and dropping a file need it.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Hovering or focusing a card lights what it rests on, and the other way round.
const light = (numbers, on) => {
  all("[data-card]").forEach((card) => card.classList.toggle("lit", on && numbers.includes(card.dataset.card)));
  all("li[data-uses]").forEach((row) =>
    row.classList.toggle("lit", on && row.dataset.uses.split(" ").some((number) => numbers.includes(number))));
};
const numbersOf = (item) => (item.dataset.card || item.dataset.uses || "").split(" ").filter(Boolean);
all("[data-card], li[data-uses]").forEach((item) => {
  for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    item.addEventListener(event, () => light(numbersOf(item), on));
  }
});

// A search over everybody while it is typed; sent, it is answered by the server.
all("[data-search]").forEach((input) => {
  const status = all("[role=status]", input.form)[0], items = all("[data-found]");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    items.forEach((item) => { item.hidden = !words.every((word) => item.dataset.found.includes(word)); });
    all(".everybody").forEach((others) => { others.open = words.length > 0; });
    status.textContent = words.length ? `${items.filter((item) => !item.hidden).length} found` : "";
  });
});

// What was not chosen need not stand in the address.
all("form.choices[method=get]").forEach((form) => form.addEventListener("formdata", ({ formData }) => {
  [...formData].forEach(([name, value]) => { if (!value) formData.delete(name); });
}));

// A file dropped on the text is read here and stands in it; nothing is sent before somebody asks.
all("[data-drop]").forEach((text) => {
  all("[data-drop-hint]").forEach((hint) => { hint.hidden = false; });
  text.addEventListener("dragover", (event) => { event.preventDefault(); text.classList.add("over"); });
  text.addEventListener("dragleave", () => text.classList.remove("over"));
  text.addEventListener("drop", async (event) => {
    const [file] = event.dataTransfer.files;
    text.classList.remove("over");
    if (!file) return;
    event.preventDefault();
    text.value = await file.text();
  });
});

// Feedback as CDS Hooks has it: what becomes of a card is told to the service, and the person is told whether it was heard.
const report = async (within, status, buttons, outcome, done) => {
  // A button that were disabled would lose the focus.
  if (buttons.some((button) => button.getAttribute("aria-disabled"))) return;
  const card = within.closest("[data-feedback]");
  const item = { card: card.dataset.uuid, outcomeTimestamp: new Date().toISOString(), ...outcome };
  buttons.forEach((button) => { button.setAttribute("aria-disabled", "true"); });
  try {
    const answer = await fetch(card.dataset.feedback, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ feedback: [item] }),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    status.textContent = done;
  } catch (error) {
    buttons.forEach((button) => { button.removeAttribute("aria-disabled"); });
    status.textContent = `Not noted (${error.message}). Try again.`;
  }
};

all("form[data-override]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const reason = form.querySelector("input:checked");
    const overrideReason = { reason: { code: reason.value, system: reason.dataset.system } };
    report(form, form.querySelector("[role=status]"), all("button", form), { outcome: "overridden", overrideReason }, "Thank you, noted.");
  });
});

// A suggestion is taken as in an EHR, but for the order, which nobody here could place.
all("[data-accept]").forEach((label) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "accept";
  button.textContent = label.textContent;
  label.replaceChildren(button);
  button.addEventListener("click", () => {
    const acceptedSuggestions = [{ id: label.dataset.accept }];
    const status = label.closest("ul").nextElementSibling;
    report(label, status, [button], { outcome: "accepted", acceptedSuggestions }, "Thank you, noted as accepted; nothing is ordered here.");
  });
});

// Who slides a value wants it to count.
document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-slides]")) return;
  document.getElementById("measured-value").checked = true;
  document.getElementById("slid").textContent = event.target.value;
});

// What is only chosen from a list is not added yet: whoever goes through it by keyboard passes many.
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-adds]")) event.stopPropagation();
}, true);

// An answer that failed leaves the page as it was, and says so.
const failed = (words) => all("[data-status]").forEach((status) => { status.textContent = words; });
document.addEventListener("htmx:before:swap", (event) => {
  const { response, text } = event.detail.ctx;
  if (response.raw.ok) return;
  event.preventDefault();
  const told = new DOMParser().parseFromString(text, "text/html").querySelector(".problems li");
  failed(`Not asked, what stands below is as before. ${told ? told.textContent : `The service answered ${response.raw.status}.`}`);
});
document.addEventListener("htmx:error", () => failed("Not asked, what stands below is as before: the service cannot be reached."));

// What stands in a box of code can be copied.
all("[data-copy]").forEach((box) => {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.textContent);
    button.textContent = "Copied";
  });
  box.before(button);
});
