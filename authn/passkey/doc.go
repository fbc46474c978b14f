// Package passkey runs WebAuthn ceremonies (W3C Web Authentication Level 3) and keeps the
// credentials that they make.
//
// # What it is
//
// A [RelyingParty] begins and finishes two ceremonies for a person who is already signed
// in at the OpenID provider: a registration, which makes a passkey, and an assertion,
// which proves that the same person is at the keyboard now. Beginning gives the JSON that
// the browser's parseCreationOptionsFromJSON and parseRequestOptionsFromJSON take;
// finishing takes the JSON that PublicKeyCredential.toJSON makes.
//
// An answer is accepted if all of this holds, checked in this order:
//
//   - its ceremony was begun by this session, for this purpose, at most five minutes ago,
//     and has not been answered before, well or badly;
//   - the client data names the right ceremony, the issued challenge and one of the
//     configured origins, byte for byte, and no foreign frame around it;
//   - the credential is one that was asked for, and belongs to this person;
//   - the authenticator data is for our relying party id, with user presence and user
//     verification set in this very answer;
//   - the signature is right;
//   - what was signed does not contradict what is remembered: a sign count that was
//     reached before the ceremony began or that was used already, backup eligibility that
//     changed or a backup without eligibility block the credential, durably, and the
//     answer is refused. A count that only another answer has overtaken meanwhile is
//     refused, and blocks nothing.
//
// A registration moreover has to use an algorithm that was offered, a key that can be
// used, and an attestation statement that is right in itself. Attestation is asked for
// (direct) and kept verbatim in [Record.Data], so that it can be judged later; no chain
// is judged here, hence no credential is [authn.ClassAttested] yet.
//
// # What it is not
//
// It does not decide who may enrol: [RelyingParty.FinishRegistration] verifies and stores
// nothing. Its caller stores the record together with a ticket, or, where the person has
// passkeys, proposes it ([RelyingParty.Propose]): then one of those has to sign a
// challenge that commits to the new key ([RelyingParty.BeginVouching],
// [RelyingParty.FinishVouching], [RelyingParty.Add]). Such a signature raises no session,
// and one that raises a session adds no key. The package does not touch sessions: the
// caller raises the session with what [RelyingParty.FinishAssertion] returns. It cannot
// tell a fingerprint from a PIN: user verification is one bit.
//
// # Choices
//
// Resident keys are preferred, not required. The person is known before the ceremony
// begins, so nothing here depends on discoverable credentials, and a security key whose
// slots are full must not keep a person out; a key with room gets a discoverable passkey
// and a user handle, which is then checked as well.
//
// No extension is requested and none is read. Browsers and password managers return
// outputs unasked, and members with values of their own: these are ignored, and are no
// reason to refuse a person.
//
// # How it fails
//
// A refusal is an [*Error] with a stable code, and text for the person saying what to do
// next. Any other error means that a store did not answer, and the caller has to answer
// as for an outage: nothing was proven.
package passkey
