// Runs WebAuthn ceremonies: asks the server for options, hands them to the browser,
// posts the answer, and goes where the server says. A further passkey takes two: once it
// is made, the same button confirms it with a passkey that the person already has. Each
// has a press of its own, because Safari wants one for each prompt. Everything shown is set
// as text, never as markup, and is a text of ours or of the server's, never an engine's.
import { creationOptions, requestOptions, answerOf } from "./webauthn.js";
import { Told, Refused, explain, unsupported } from "./trouble.js";
import { answered } from "./journey.js";
import { tell, verified } from "./changed.js";
import { onward } from "./fragment.js";
import { leave } from "./circle.js";
import "./kept.js"; // the Back button: the session, the ticket or the question may be over

const form = document.querySelector("form[data-ceremony]");
const button = form.querySelector("button[data-action]");
const cancel = document.getElementById("cancel");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const first = { label: button.textContent, action: form.dataset.ceremony, page: form.dataset.ceremony === "enroll" ? "enroll" : "step-up" };
const second = { label: "Confirm with a passkey you already have", action: "verify", page: "confirm" };
const context = { ticket: form.dataset.ticket, return_to: form.dataset.returnTo, bind: form.dataset.bind };

// Options live five minutes on the server. They are asked for before the press, because a
// slow network would use up the press itself, and again once they are this old.
const freshFor = 120_000;
const hintAfter = 8_000; // a prompt that no one answers has gone unseen

let step = first;
let proposal = ""; // the passkey that was made and waits to be confirmed
let made = ""; // its credential id
let ready = null; // options, and when they were asked for
let asking = null; // the request for them
let unsent = null; // an answer that the server may not have got
let running = false;
let leaving = false; // it is done, and the next page is on its way
let instead = ""; // where the button leads, when this page is of no use any more

function show(text) {
  problem.textContent = text;
  problem.hidden = text === "";
}

function busy(text) {
  status.textContent = text;
  button.disabled = text !== "";
  button.setAttribute("aria-busy", String(text !== ""));
  button.textContent = text === "" ? step.label : "Please wait…";
}

// enter shows one of the two steps of adding a passkey.
function enter(next) {
  step = next;
  ready = asking = null;
  const done = step === second;
  for (const [id, current] of [["step-create", !done], ["step-confirm", done]]) {
    const item = document.getElementById(id);
    if (current) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  document.getElementById("step-create").classList.toggle("done", done);
  document.getElementById("naming").hidden = done;
  button.dataset.action = step.action;
  busy("");
  status.textContent = done ? "Step 1 is done: the new passkey is created. It is added once you confirm it, within five minutes, with a passkey you already have." : "";
  button.focus();
  prepare();
}

async function post(url, body) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      credentials: "same-origin",
      redirect: "error",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Told("The server could not be reached. Check your connection, then try again.", { lost: true });
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(answer, response.status);
  return answer;
}

// report tells the server what the browser did not go through with: a few fixed words.
function report(error, phase, authenticator) {
  fetch(form.dataset.stopped, {
    method: "POST", credentials: "same-origin", redirect: "error", keepalive: true,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ error: String(error).slice(0, 64), phase, page: step.page, authenticator: authenticator || "" }),
  }).catch(() => {}); // it is for support; nothing depends on it
}

function timeZone() {
  try {
    return Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  } catch {
    return "";
  }
}

const fresh = () => ready && performance.now() - ready.at < freshFor;

// ask gets options for the step. Two that ask at once share one request.
function ask() {
  const now = step;
  const at = performance.now();
  const request = (now === second ? post(form.dataset.confirm + "/begin", { proposal, made }) : post(form.dataset.begin, context))
    .then((begun) => {
      if (step === now) ready = { begun, at };
    })
    .finally(() => {
      if (asking === request) asking = null;
    });
  asking = request;
  return request;
}

// prepare has options at hand before the press, while the person looks at the page. It must not
// run by the clock alone: a page that was left open would keep its session from ending.
function prepare() {
  if (running || leaving || instead || fresh() || asking || document.visibilityState !== "visible") return;
  ask().catch(() => {}); // the press asks again, and says what is wrong
}

// prompt has the browser create a passkey, or use one.
async function prompt(options, signal) {
  const publicKey = step.action === "enroll" ? creationOptions(options) : requestOptions(options);
  const left = ready.at + (options.timeout || 300_000) - performance.now();
  publicKey.timeout = Math.max(30_000, left); // the server forgets it then
  const credential = step.action === "enroll"
    ? await navigator.credentials.create({ publicKey, signal })
    : await navigator.credentials.get({ publicKey, signal });
  return { credential, timeout: publicKey.timeout };
}

async function authenticate() {
  const { begun } = ready;
  const options = begun.options.publicKey || begun.options;
  const phase = step.action === "enroll" ? "create" : "get";
  const stop = new AbortController();
  const started = performance.now();
  const hint = setTimeout(() => {
    status.textContent = "Still waiting for you. Look for a window of your browser (it may be behind this one), for a message on your phone, or for a security key that blinks: touch it.";
    cancel.hidden = false;
  }, hintAfter);
  cancel.onclick = () => stop.abort();
  busy("Follow the prompt of your browser or device.");
  let credential;
  try {
    ({ credential } = await prompt(options, stop.signal));
  } catch (error) {
    const name = stop.signal.aborted ? "cancelled" : String(error && error.name);
    const waited = performance.now() - started;
    const late = name === "NotAllowedError" && waited >= (options.timeout || 300_000) - freshFor - 1000;
    report(late ? "timed_out" : name, phase);
    throw new Told(explain(late ? "timed_out" : name, step.page), { calm: name === "cancelled" });
  } finally {
    clearTimeout(hint);
    cancel.hidden = true;
  }
  busy("Checking…");
  ready = null; // it is answered
  try {
    const answer = answerOf(credential);
    return { ceremony: begun.ceremony, credential: answer, time_zone: timeZone() };
  } catch (error) {
    report(String(error && error.name), "encode", credential && credential.authenticatorAttachment);
    throw new Told(explain("encode", step.page));
  }
}

// send posts an answer, and keeps it until the server has said something: what was lost on
// the way is sent again, and the person need not touch anything twice.
async function send(url, body) {
  unsent = { url, body, step };
  try {
    const done = await post(url, body);
    unsent = null;
    return done;
  } catch (error) {
    if (!(error instanceof Told && error.lost) && !(error instanceof Refused && error.status >= 500)) unsent = null;
    throw error;
  }
}

async function ceremony() {
  let done;
  if (unsent && unsent.step === step) {
    busy("Sending it again…");
    done = await send(unsent.url, unsent.body);
  } else {
    const pressed = navigator.userActivation && navigator.userActivation.isActive;
    if (!fresh()) {
      busy("Preparing…");
      await (asking || ask());
    }
    if (!ready) throw new Told("That did not work. Please try again.");
    if (ready.begun.next) return ready.begun; // confirmed before, and its answer was lost
    // A slow network has used up the press. Safari and Firefox show no prompt without one.
    if (pressed && !navigator.userActivation.isActive) {
      throw new Told("It is ready now. Press the button once more.", { calm: true });
    }
    const answer = await authenticate();
    const name = form.elements.namedItem("name");
    if (step === first && form.dataset.confirm) made = answer.credential.rawId;
    done = step === second
      ? await send(form.dataset.confirm + "/finish", answer)
      : await send(form.dataset.finish, { ...context, ...answer, name: name ? name.value : "" });
  }
  if (!done.proposal) return done;
  proposal = done.proposal;
  enter(second);
  return null;
}

async function run() {
  if (running) return;
  if (instead) {
    location.assign(instead);
    return;
  }
  running = true;
  show("");
  busy("Preparing…");
  try {
    const done = await ceremony();
    if (!done) return;
    busy("Done. Taking you back…");
    leave();
    leaving = true;
    tell();
    location.replace(onward(done.next)); // the back button is not to lead to a question that was answered
  } catch (error) {
    failed(error);
  } finally {
    running = false;
    prepare();
  }
}

function failed(error) {
  // The server has forgotten what this page was about. That is the page's to mend.
  if (error instanceof Refused && error.code === "challenge_unknown") {
    ready = null;
    if (step === second) {
      enter(first);
      error = new Told("The new passkey was not confirmed in time, or could not be. Create it again; it replaces the one from before.");
    } else {
      error = new Told("That took longer than five minutes. The page is ready again: press the button once more.", { calm: true });
    }
  }
  busy("");
  if (!error.calm) button.textContent = "Try again";
  const reference = error.incident ? " (reference " + error.incident + ")" : "";
  const waiting = step === second && !(error instanceof Refused) ? " The new passkey still waits to be confirmed." : "";
  const text = (error instanceof Told ? error.message : explain("", step.page)) + waiting + reference;
  if (error.calm) status.textContent = text;
  else show(text);
  button.focus();
  if (!error.next) return;
  // A passkey that was blocked ends the session as well. The person must be able to read why, and the
  // reference: signing in again tells them neither.
  if (error.status === 403 && new URL(error.next, location.href).pathname.endsWith("/sign-in")) {
    instead = error.next;
    button.textContent = "Sign in again";
    return;
  }
  location.assign(error.next);
}

answered();
const missing = unsupported();
if (missing) {
  show(explain(missing, step.page));
  report(missing, "load");
} else {
  button.disabled = false;
  prepare();
  for (const [target, event] of [[document, "visibilitychange"], [window, "focus"], [button, "pointerenter"], [button, "focus"]]) {
    target.addEventListener(event, prepare);
  }
}
// Answered in another tab: the sign-in page leads on from here. If there is another question still, it is asked anew.
if (first.page === "step-up") {
  verified(() => {
    if (!running && !leaving && instead === "") location.replace(onward("/.sallyport/sign-in" + location.search));
  });
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
