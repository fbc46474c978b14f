// The link to the provider works without this.
import { keep } from "./fragment.js";
import { leave } from "./circle.js";
import { begun } from "./journey.js";
import { verified } from "./changed.js";

keep();
leave();
document.querySelector('[data-action="sign-in"]').addEventListener("click", begun);
verified(() => location.reload()); // in another tab: this page leads on, then
