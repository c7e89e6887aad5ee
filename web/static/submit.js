// Posts the page's form at once; without it the person presses the button.
document.getElementById("form-post").submit();
