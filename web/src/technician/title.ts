// The page's title, which is all that is seen of it in another tab: a call first, then what
// is not live.
const plain = document.title;
let call = '';
let alarm = '';

function show(): void {
  const now = call || (alarm ? `${alarm} – ${plain}` : plain);
  if (document.title !== now) document.title = now;
}

export function titleCall(text: string): void {
  call = text;
  show();
}

export function titleAlarm(text: string): void {
  alarm = text;
  show();
}
