// Tells the tabs of this tool that the person is signed in or has verified. They ask the server whether it is so.
import { tell } from "./changed.js";

tell();
