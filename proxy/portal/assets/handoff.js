// Takes a session over to a tool's host: asks our own host for a code, and posts it to
// the tool's, by fetch where that brings the tool's cookies along, by a form elsewhere.
// The code is never in an address. If fetch fails there is no other way by itself: what
// the tool's own pages and workers could read is not tried.
import { onward } from "./fragment.js";
import { circling } from "./circle.js";

const form = document.querySelector("form[data-handoff]");
const button = form.querySelector("button");
const deliver = document.getElementById("deliver");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const help = document.querySelector("details");
const label = button.textContent;

function show(text) {
  problem.textContent = text;
  problem.hidden = text === "";
  if (text !== "") help.open = true;
}

function busy(text) {
  status.textContent = text;
  button.disabled = text !== "";
  if (text === "") button.parentElement.hidden = false; // nothing to press while it goes on by itself
  button.setAttribute("aria-busy", String(text !== ""));
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const reference = answer.incident ? " (reference " + answer.incident + ")" : "";
  throw new Error((answer.message || "The server refused (" + response.status + ").") + reference);
}

async function askForCode(confirmed) {
  let response;
  try {
    response = await fetch(form.dataset.handoff, {
      method: "POST", credentials: "same-origin", redirect: "error", cache: "no-store",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ return_to: form.dataset.returnTo, bind: form.dataset.bind, confirmed }),
    });
  } catch {
    throw new Error("The server could not be reached. Check your connection, then try again.");
  }
  return answerOf(response);
}

async function post(code) {
  let response;
  try {
    response = await fetch(form.dataset.to, {
      method: "POST", mode: "cors", credentials: "include", redirect: "error", cache: "no-store",
      headers: { Accept: "application/json" }, body: new URLSearchParams({ code }),
    });
  } catch {
    throw new Error("The tool's address could not be reached, or it did not answer. Wait a moment, then try again.");
  }
  return answerOf(response);
}

async function run(confirmed) {
  show("");
  busy("One moment…");
  try {
    let answer = await askForCode(confirmed);
    if (answer.how === "form") {
      deliver.elements.namedItem("code").value = answer.code;
      deliver.action = onward(form.dataset.to);
      deliver.submit();
      deliver.elements.namedItem("code").value = "";
      return;
    }
    if (answer.code) answer = await post(answer.code);
    location.replace(onward(answer.next));
  } catch (error) {
    busy("");
    button.textContent = "Try again";
    show(error.message);
    button.focus();
  }
}

try {
  const names = new Intl.DisplayNames(["en"], { type: "region" });
  for (const place of document.querySelectorAll("[data-country]")) place.textContent = names.of(place.dataset.country);
} catch {
  // the code is there instead
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run("ask" in form.dataset); // what was not shown was not confirmed
});
// Who came back here with the back button, or whose tab was restored, is not sent on again.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    busy("");
    button.textContent = label;
  }
});
const [arrival] = performance.getEntriesByType("navigation");
if ("auto" in form.dataset && !(arrival && arrival.type === "back_forward")) {
  if (circling()) {
    busy("");
    button.textContent = "Try again";
    show("Your browser does not keep the cookie of " + new URL(form.dataset.to).host + " that signs you in there. Allow cookies for it, then try again. If that does not help, use another browser, and tell your security team.");
  } else {
    run(false);
  }
} else {
  busy("");
}
