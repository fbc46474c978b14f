// Shows the tool again once the person has verified in another tab.
import { verified } from "./changed.js";

verified(() => location.reload());
