// Runs WebAuthn ceremonies: asks the server for options, hands them to the browser,
// posts the answer, and goes where the server says. A further passkey takes two: once it
// is made, the same button confirms it with a passkey that the person already has. Each
// has a press of its own, because Safari wants one for each prompt. Everything shown is set
// as text, never as markup.
const form = document.querySelector("form[data-ceremony]");
const button = form.querySelector("button[data-action]");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const first = { label: button.textContent, action: form.dataset.ceremony };
const second = { label: "Confirm with a passkey you already have", action: "verify" };
let step = first;
let proposal = ""; // the passkey that was made and waits to be confirmed

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
}

class Refused extends Error {
  constructor(answer, httpStatus) {
    super(answer.message || "The server refused (" + httpStatus + ").");
    this.code = answer.error;
    this.incident = answer.incident;
    this.next = answer.next;
  }
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
    throw new Error("The server could not be reached. Check your connection, then try again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(answer, response.status);
  return answer;
}

// explain turns what went wrong into what to do next. Browsers report a cancelled
// prompt, a timeout and a missing passkey with one and the same error name.
function explain(error, enrolling, waited, timeout) {
  switch (error.name) {
    case "NotAllowedError":
      if (timeout && waited >= timeout - 1000) return "That took too long, so the request was closed. Try again when you are ready.";
      return enrolling
        ? "The passkey was not created: the request was cancelled or not allowed. Try again, and confirm with your fingerprint, face or device PIN."
        : (step === second ? "Nothing was confirmed" : "You were not verified") + ": the request was cancelled, or no passkey for this site was found on this device. Try again, and choose the device or security key that holds your passkey.";
    case "InvalidStateError":
      return enrolling ? "This device already holds a passkey for you. Use it to sign in, or choose another device or security key." : "This passkey cannot be used here.";
    case "NotSupportedError":
    case "ConstraintError":
      return "This device cannot check that it is you (fingerprint, face or PIN). Set up a screen lock, or use another device or a security key with a PIN.";
    case "SecurityError":
      return "The browser refused because this page's address does not match the one passkeys are set up for. Open the usual address; if that does not help, tell your security team.";
    case "AbortError":
      return "The request was interrupted. Try again.";
    default:
      return error.message || "Something went wrong. Try again.";
  }
}

const context = { ticket: form.dataset.ticket, return_to: form.dataset.returnTo, bind: form.dataset.bind };

function timeZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "";
}

// authenticate has the browser create a passkey, or use one.
async function authenticate(begun, clock) {
  const options = begun.options.publicKey || begun.options;
  clock.timeout = options.timeout || 0;
  clock.started = performance.now();
  busy("Follow the prompt of your browser or device.");
  const credential = step.action === "enroll"
    ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  busy("Checking…");
  return { ceremony: begun.ceremony, credential: credential.toJSON(), time_zone: timeZone() };
}

async function ceremony(clock) {
  const begun = await post(form.dataset.begin, context);
  const answer = await authenticate(begun, clock);
  const name = form.elements.namedItem("name");
  const done = await post(form.dataset.finish, { ...context, ...answer, name: name ? name.value : "" });
  if (!done.proposal) return done;
  proposal = done.proposal;
  enter(second);
  return null;
}

async function confirmation(clock) {
  let begun;
  try {
    begun = await post(form.dataset.confirm + "/begin", { proposal });
  } catch (error) {
    if (error.code !== "challenge_unknown") throw error;
    enter(first); // the server has forgotten it
    throw new Error("The new passkey was not confirmed in time, or could not be. Create it again; it replaces the one from before.");
  }
  return post(form.dataset.confirm + "/finish", await authenticate(begun, clock));
}

async function run() {
  const clock = { started: performance.now(), timeout: 0 };
  const now = step;
  show("");
  busy("Preparing…");
  try {
    const done = now === second ? await confirmation(clock) : await ceremony(clock);
    if (!done) return;
    busy("Done. Taking you back…");
    location.assign(done.next);
  } catch (error) {
    busy("");
    const reference = error.incident ? " (reference " + error.incident + ")" : "";
    const waiting = step === second && !(error instanceof Refused) ? " The new passkey still waits to be confirmed." : "";
    show(explain(error, step.action === "enroll", performance.now() - clock.started, clock.timeout) + waiting + reference);
    button.focus();
    if (error.next) location.assign(error.next);
  }
}

if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) {
  show("This browser is too old to use passkeys. Please use a current version of Chrome, Edge, Firefox or Safari.");
} else {
  button.disabled = false;
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
