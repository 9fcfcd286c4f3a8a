"use strict";

// The pages work without this script. It copies text, remembers the chosen tool, and searches while you type.

const TOOL = "pyoci-tool";
const PAUSE = 300; // milliseconds from the last key press to the request

function say(text) {
  document.getElementById("said").textContent = text;
}

// navigator.clipboard exists only in secure contexts, not at http://intranet/.
async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // The browser refused it; the old way may work.
    }
  }
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "hidden-visually";
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  return done;
}

async function copy(button) {
  const done = await copied(document.getElementById(button.dataset.copy).textContent);
  button.focus();
  button.textContent = done ? "Copied" : "Not copied";
  button.classList.toggle("done", done);
  say(done ? "Copied" : "Your browser did not allow copying");
  setTimeout(() => {
    button.textContent = "Copy";
    button.classList.remove("done");
  }, 2000);
}

// The browser may refuse storage.
function remembered() {
  try {
    return localStorage.getItem(TOOL);
  } catch {
    return null;
  }
}

function remember(tool) {
  try {
    localStorage.setItem(TOOL, tool);
  } catch {
    // The next page then shows the first tool.
  }
}

function enliven() {
  for (const button of document.querySelectorAll("button.copy[hidden]")) {
    button.hidden = false;
  }
}

function chooseRememberedTool() {
  const tool = new URLSearchParams(location.search).get("tool") ?? remembered();
  const input = tool && document.getElementById(`tool-${CSS.escape(tool)}`);
  if (input) {
    input.checked = true;
  }
}

// Do not send a form that is half empty, because someone is still filling it in.
function complete(form) {
  const fields = [...form.querySelectorAll("input[type=text]")];
  const filled = fields.filter((field) => field.value.trim()).length;
  return filled === fields.length || (filled === 0 && "own" in form.dataset);
}

function takeOver(field, other, names) {
  for (const name of names) {
    if (other?.hasAttribute(name)) {
      field.setAttribute(name, other.getAttribute(name));
    } else {
      field.removeAttribute(name);
    }
  }
}

// Fetches the page that the form leads to, and replaces the elements with these ids.
function live(form) {
  let timer = 0;
  let asked = 0;

  async function update() {
    const mine = (asked += 1);
    const url = new URL(form.action);
    url.search = new URLSearchParams(new FormData(form)).toString();
    let page = null;
    try {
      const response = await fetch(url, { headers: { Accept: "text/html" } });
      page = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch {
      // The server did not respond.
    }
    if (mine !== asked) {
      return;
    }
    const parts = form.dataset.live.split(" ").map((id) => page?.getElementById(id));
    if (!parts.every(Boolean)) {
      // An error page has no such elements. The button leads to it.
      say("The page could not be updated. Use the button.");
      return;
    }
    for (const part of parts) {
      document.getElementById(part.id).replaceWith(document.adoptNode(part));
    }
    for (const field of form.querySelectorAll("input[id]")) {
      takeOver(field, page.getElementById(field.id), ["aria-invalid", "aria-describedby"]);
    }
    history.replaceState(null, "", url);
    chooseRememberedTool();
    enliven();
    say(form.querySelector(".alert")?.textContent || "Updated");
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    if (complete(form)) {
      timer = setTimeout(update, PAUSE);
    }
  });
}

// All names are on the page, so no request is needed.
function filter(form) {
  const list = document.getElementById(form.dataset.filter);
  const count = list.querySelector("[data-count]");
  const items = [...list.querySelectorAll("li")];

  form.addEventListener("input", () => {
    const key = form.elements.q.value.trim().toLowerCase().replace(/[-_.\s]+/g, "-");
    for (const item of items) {
      item.hidden = !item.textContent.includes(key);
    }
    const shown = items.filter((item) => !item.hidden).length;
    if (count) {
      count.textContent = `${shown} of ${items.length} projects`;
      say(count.textContent);
    }
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) {
    copy(button);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.name === "tool") {
    remember(event.target.value);
  }
});

chooseRememberedTool();
enliven();
document.querySelectorAll("form[data-live]").forEach(live);
document.querySelectorAll("form[data-filter]").forEach(filter);
