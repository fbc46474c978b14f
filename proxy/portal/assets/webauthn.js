// The JSON of WebAuthn (Level 3 sections 5.1.8 and 5.1.9) for browsers and password managers
// without it: Safari before 18.4 lacks all of it, and an extension's credential may have a
// toJSON that throws. Where the browser has it, it is used.
const alphabet = { "+": "-", "/": "_", "=": "" };

// A view of an extension's may be on a part of a larger buffer.
function encode(buffer) {
  let text = "";
  const view = ArrayBuffer.isView(buffer) ? buffer : new DataView(buffer); // throws if it is no buffer
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replace(/[+/=]/g, (c) => alphabet[c]);
}

function decode(text) {
  return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
}

const described = (list) => (list || []).map((d) => ({ ...d, id: decode(d.id) }));

// native is what the browser makes of it, or undefined if it cannot.
function native(parse, options) {
  try {
    return PublicKeyCredential[parse](options);
  } catch {
    return undefined;
  }
}

export function creationOptions(o) {
  return native("parseCreationOptionsFromJSON", o) || {
    ...o, challenge: decode(o.challenge), user: { ...o.user, id: decode(o.user.id) }, excludeCredentials: described(o.excludeCredentials),
  };
}

export function requestOptions(o) {
  return native("parseRequestOptionsFromJSON", o) || { ...o, challenge: decode(o.challenge), allowCredentials: described(o.allowCredentials) };
}

// answerOf is what the server reads of a credential.
export function answerOf(credential) {
  try {
    const made = credential.toJSON();
    if (made && made.rawId && made.response && made.response.clientDataJSON) return made;
  } catch {
    // from the fields, then
  }
  const { response } = credential;
  const out = { id: encode(credential.rawId), rawId: encode(credential.rawId), type: credential.type, clientExtensionResults: {}, response: {} };
  if (credential.authenticatorAttachment) out.authenticatorAttachment = credential.authenticatorAttachment;
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (response[name]) out.response[name] = encode(response[name]);
  }
  if (response.getTransports) {
    try {
      out.response.transports = response.getTransports();
    } catch {
      // a hint only
    }
  }
  return out;
}
