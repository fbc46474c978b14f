// The link to the provider works without this.
import { keep } from "./fragment.js";
import { leave } from "./circle.js";

keep();
leave();
