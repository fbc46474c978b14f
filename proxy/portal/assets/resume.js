// The provider has sent the person back with a sign-in that is over: it took more than a quarter of an hour, or many
// tabs began one. Where this tab was going is in its storage, since our own page where it began: it goes on
// to there if the person is signed in by now, and begins a new sign-in if not. Once: what was kept is used up. Nothing
// that the address says is used, so that a forged answer begins and decides nothing.
import { taken } from "./journey.js";

const link = document.querySelector("a[data-resume]");
const on = link.dataset.resume === "on"; // they are signed in
const way = taken({ waiting: !on });
if (on) location.replace(way || link.href);
else if (way) location.replace(way + "&go=1");
