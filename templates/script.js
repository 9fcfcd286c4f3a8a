"use strict";

// The pages work without this script. It copies text, remembers the chosen tool, searches while you type, and
// fills in what a list of projects does not show yet.

const TOOL = "pyoci-tool";
const PAUSE = 300; // milliseconds from the last key press to the request
const GATHER = 100; // milliseconds for which rows that come into view are gathered into one request

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
    watchRows();
    say(form.querySelector(".alert")?.textContent || "Updated");
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    if (complete(form)) {
      timer = setTimeout(update, PAUSE);
    }
  });
}

const HIDDEN = 4;

// The order of the results is that of the server: the name itself, its beginning, a part of it, the summary.
function rank(item, words) {
  const name = item.dataset.row;
  const key = words.replace(/[-_.\s]+/g, "-");
  if (!words) {
    return 0;
  }
  if (name.includes(key)) {
    return name === key ? 0 : name.startsWith(key) ? 1 : 2;
  }
  return item.querySelector(".summary")?.textContent.toLowerCase().includes(words) ? 3 : HIDDEN;
}

// All names are on the page, so no request is needed.
function filter(form) {
  const list = document.getElementById(form.dataset.filter);
  const count = list.querySelector("[data-count]");
  const items = [...list.querySelectorAll("li")];

  form.addEventListener("input", () => {
    const words = form.elements.q.value.trim().toLowerCase();
    const ranks = new Map(items.map((item) => [item, rank(item, words)]));
    for (const item of items) {
      item.hidden = ranks.get(item) === HIDDEN;
    }
    items[0]?.parentNode.append(...[...items].sort((one, other) => ranks.get(one) - ranks.get(other)));
    const shown = items.filter((item) => !item.hidden).length;
    if (count) {
      count.textContent = `${shown} of ${items.length} projects`;
      say(count.textContent);
    }
  });
}

// Rows without details are filled in as they come into view. One request at a time asks for a few of them, and after
// a request without an answer there is no other.
const waiting = new Set();
let asking = false;
let givenUp = false;

const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        waiting.add(target);
      } else {
        waiting.delete(target);
      }
    }
    fillRows();
  },
  { rootMargin: "100px" },
);

function watchRows() {
  for (const row of document.querySelectorAll("[data-batch] [data-bare]")) {
    observer.observe(row);
  }
}

async function fillRows() {
  if (asking || givenUp || !waiting.size) {
    return;
  }
  asking = true;
  await new Promise((done) => setTimeout(done, GATHER));
  const most = Number(document.querySelector("[data-batch]")?.dataset.batch);
  const rows = [...waiting].filter((row) => row.isConnected).slice(0, most);
  for (const row of rows) {
    row.removeAttribute("data-bare");
    observer.unobserve(row);
  }
  waiting.clear();
  if (rows.length) {
    givenUp = !(await filledIn(rows));
  }
  asking = false;
  // Report again which of the others are in view: some may have been left out.
  observer.disconnect();
  watchRows();
}

// Returns whether it makes sense to ask for more.
async function filledIn(rows) {
  const url = new URL("./", location.href);
  url.search = new URLSearchParams({ rows: rows.map((row) => row.dataset.row).join(",") }).toString();
  let list = null;
  try {
    const response = await fetch(url, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    list = response.ok ? page.querySelector("ul") : null;
  } catch {
    // The server did not respond.
  }
  const found = [...(list?.children ?? [])];
  for (const row of rows) {
    const filled = found.find((one) => one.dataset.row === row.dataset.row);
    if (filled) {
      // The link stays, because it may have the focus.
      row.append(...[...filled.children].slice(1).map((one) => document.adoptNode(one)));
    }
  }
  return list !== null && (found.length > 0 || !("slow" in list.dataset));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) {
    copy(button);
  }
});

document.addEventListener("keydown", (event) => {
  const field = document.getElementById("q");
  const modified = event.ctrlKey || event.metaKey || event.altKey;
  const typing = event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");
  if (event.key === "/" && field && !modified && !typing) {
    event.preventDefault();
    field.focus();
    field.select();
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
watchRows();
